"""Domains: the values that one gene may take. Written in TOML as a value, a list, or a table with `low` and `high`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from nas.decode import Bounds, decode_part
from nas.errors import near_misses

Value = int | float | str | bool
Scope = Literal["network", "stage", "block"]

MAX_OPTIONS = 100  # values that a list may have; each is a branch of the sampler's model


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, all equally likely; a single option is a constant and no gene."""

    options: tuple[Value, ...]

    @property
    def size(self) -> float:
        """Return how many values there are."""
        return len(self.options)

    def draw(self, rng: random.Random) -> Value:
        """Draw one value."""
        return rng.choice(self.options)

    def contains(self, value: Value) -> bool:
        """Return whether `value` is one of them."""
        return value in self.options

    def values(self) -> Sequence[Value]:
        """Return every value there is, in the order of the file."""
        return self.options


@dataclass(frozen=True, slots=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included, `step` apart.

    `log` draws evenly over their logarithm, and then the step is 1. `high` is `low` plus a whole number of steps.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def size(self) -> float:
        """Return how many values there are."""
        return len(self.values())

    def draw(self, rng: random.Random) -> Value:
        """Draw one value."""
        if self.log:
            exact = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(exact), self.low), self.high)
        return rng.choice(self.values())

    def contains(self, value: Value) -> bool:
        """Return whether `value` is one of them."""
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def values(self) -> Sequence[Value]:
        """Return every value there is, ascending."""
        return range(self.low, self.high + 1, self.step)


@dataclass(frozen=True, slots=True)
class FloatRange:
    """Real numbers from `low` to `high`; `log` draws evenly over their logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def size(self) -> float:
        """Return infinity: the reals between the ends."""
        return math.inf

    def draw(self, rng: random.Random) -> Value:
        """Draw one value."""
        if self.log:
            return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)
        return rng.uniform(self.low, self.high)

    def contains(self, value: Value) -> bool:
        """Return whether `value` lies between the ends, both included."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def values(self) -> Sequence[Value]:
        """Return the two ends; what lies between cannot be listed."""
        return self.low, self.high


Domain = Choice | IntRange | FloatRange


@dataclass(frozen=True, slots=True)
class Setting:
    """A domain, and whether the whole network, each stage or each block draws a value of its own."""

    domain: Domain
    per: Scope


def decode_setting(value: Any, hint: Any, per: Scope, path: str, problems: list[str]) -> Setting | None:
    """Return `value` as a setting whose every value is valid for `hint` (a type as `nas.decode` understands it).

    `per` is what draws a value of its own unless `value` says otherwise. A domain of one value becomes a `Choice`.
    Problems are appended to `problems`, and then the result is None.
    """
    before = len(problems)
    domain: Domain | None
    if not isinstance(value, Mapping):
        domain = _choice(value if isinstance(value, list) else [value], hint, path, problems)
    else:
        known = {"choices", "per"} if "choices" in value else {"low", "high", "step", "log", "per"}
        for key in value:
            if key not in known:
                problems.append(f"{path}.{key}: unknown key; {near_misses(key, known)}")
        if "per" in value:
            per = decode_part(Scope, value["per"], f"{path}.per", problems)
        domain = _listed(value, hint, path, problems) if "choices" in value else _range(value, hint, path, problems)
    return Setting(domain, per) if domain is not None and len(problems) == before else None


def _listed(value: Mapping[str, Any], hint: Any, path: str, problems: list[str]) -> Domain | None:
    if isinstance(value["choices"], list):
        return _choice(value["choices"], hint, f"{path}.choices", problems)
    problems.append(f"{path}.choices: {value['choices']!r} is not a list")
    return None


def _choice(options: list[Any], hint: Any, path: str, problems: list[str]) -> Domain | None:
    before = len(problems)
    if not options:
        problems.append(f"{path}: the list is empty; give at least one value")
    if len(options) > MAX_OPTIONS:
        problems.append(f"{path}: {len(options):,} values exceed {MAX_OPTIONS}, the most; use a range, low and high")
    if len(problems) > before:
        return None
    paths = [path] if len(options) == 1 else [f"{path}[{i}]" for i in range(len(options))]
    values = tuple(decode_part(hint, v, at, problems) for v, at in zip(options, paths, strict=True))
    if len(problems) == before and len(set(values)) < len(values):
        twice = next(v for i, v in enumerate(values) if v in values[:i])
        problems.append(f"{path}: {twice!r} is listed twice; leave one out")
    return Choice(values)


def _range(value: Mapping[str, Any], hint: Any, path: str, problems: list[str]) -> Domain | None:
    before = len(problems)
    number = hint
    while get_origin(number) is Annotated:
        number = get_args(number)[0]
    if number not in (int, float):
        problems.append(f"{path}: only numbers have a range; list the values instead")
        return None
    ends = {"low": 0, "high": 0}
    for end in ends:
        if end not in value:
            problems.append(f"{path}.{end}: missing; a range has low and high, a list of values has choices")
        else:
            ends[end] = decode_part(hint, value[end], f"{path}.{end}", problems)
    log = decode_part(bool, value.get("log", False), f"{path}.log", problems)
    step = decode_part(Annotated[int, Bounds(1)], value.get("step", 1), f"{path}.step", problems)
    if len(problems) > before:
        return None
    low, high = ends["low"], ends["high"]
    if low > high:
        problems.append(f"{path}.low: {low} exceeds high, {high}; swap them")
    if log and low <= 0:
        problems.append(f"{path}.low: {low} has no logarithm; use a low above 0, or leave log out")
    if "step" in value and (log or number is float):
        what = "a range with log" if number is int else "a range of real numbers"
        problems.append(f"{path}.step: {what} has no step; leave it out")
    elif low <= high and number is int and (high - low) % step:
        reached = high - (high - low) % step
        problems.append(
            f"{path}.high: {high} is not reached from low = {low} in steps of {step}; use {reached} or {reached + step}"
        )
    if len(problems) > before:
        return None
    if low == high:
        return Choice((low,))
    return IntRange(low, high, step, log) if number is int else FloatRange(low, high, log)


def domain_text(domain: Domain) -> str:
    """Return the domain in a few words: '4 to 32, step 2', 'max | average'."""
    if isinstance(domain, Choice):
        return " | ".join(map(str, domain.options))
    step = f", step {domain.step}" if isinstance(domain, IntRange) and domain.step > 1 else ""
    log = ", log" if domain.log else ""
    return f"{domain.low:g} to {domain.high:g}{step}{log}"
