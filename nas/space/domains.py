"""Domains: the values that one gene may take. Written in TOML as a value, a list, or a table with `low` and `high`."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from nas.decode import decode_part

Value = int | float | str | bool
Scope = Literal["network", "stage", "block"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`, all equally likely; a single option is a constant and no gene."""

    options: tuple[Value, ...]

    @property
    def size(self) -> float:
        """How many values there are."""
        return len(self.options)

    def draw(self, rng: random.Random) -> Value:
        """One value."""
        return rng.choice(self.options)

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of them."""
        return value in self.options

    def extremes(self) -> tuple[Value, ...]:
        """The values among which the smallest and the largest network are looked for."""
        return self.options


@dataclass(frozen=True, slots=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included, `step` apart; `log` draws evenly over their logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def size(self) -> float:
        """How many values there are."""
        return (self.high - self.low) // self.step + 1

    def draw(self, rng: random.Random) -> Value:
        """One value."""
        if self.log:
            exact = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(exact), self.low), self.high)
        return self.low + self.step * rng.randrange(int(self.size))

    def contains(self, value: Value) -> bool:
        """Whether `value` is one of them."""
        return type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0

    def extremes(self) -> tuple[Value, ...]:
        """The values among which the smallest and the largest network are looked for."""
        return self.low, self.low + self.step * (int(self.size) - 1)


@dataclass(frozen=True, slots=True)
class FloatRange:
    """Real numbers from `low` to `high`; `log` draws evenly over their logarithm."""

    low: float
    high: float
    log: bool = False

    @property
    def size(self) -> float:
        """Infinite: the reals between the ends."""
        return math.inf

    def draw(self, rng: random.Random) -> Value:
        """One value."""
        if self.log:
            return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)
        return rng.uniform(self.low, self.high)

    def contains(self, value: Value) -> bool:
        """Whether `value` lies between the ends."""
        return isinstance(value, (int, float)) and self.low <= value <= self.high

    def extremes(self) -> tuple[Value, ...]:
        """The values among which the smallest and the largest network are looked for."""
        return self.low, self.high


Domain = Choice | IntRange | FloatRange


@dataclass(frozen=True, slots=True)
class Setting:
    """A domain, and whether the whole network, each stage or each block draws a value of its own."""

    domain: Domain
    per: Scope


def decode_setting(value: Any, hint: Any, per: Scope, path: str, problems: list[str]) -> Setting | None:
    """`value` as a setting whose every value is valid for `hint` (a type as `nas.decode` understands it)."""
    if not isinstance(value, Mapping):
        options = value if isinstance(value, list) else [value]
        return _choice(options, hint, per, path, problems)
    known = {"choices", "low", "high", "step", "log", "per"}
    before = len(problems)
    problems.extend(f"{path}.{k}: unknown key; known: {', '.join(sorted(known))}" for k in value if k not in known)
    if "per" in value:
        per = decode_part(Scope, value["per"], f"{path}.per", problems)
    if "choices" in value:
        if not isinstance(value["choices"], list):
            problems.append(f"{path}.choices: {value['choices']!r} is not a list")
            return None
        return _choice(value["choices"], hint, per, f"{path}.choices", problems)
    ends = []
    for end in ("low", "high"):
        if end not in value:
            problems.append(f"{path}.{end}: missing; a range has low and high, a list of values has choices")
        else:
            ends.append(decode_part(hint, value[end], f"{path}.{end}", problems))
    log = decode_part(bool, value.get("log", False), f"{path}.log", problems)
    if len(problems) > before:
        return None
    low, high = ends
    if not isinstance(low, (int, float)) or isinstance(low, bool):
        problems.append(f"{path}: only numbers have a range; list the values instead")
    elif low > high:
        problems.append(f"{path}.low: {low} exceeds high, {high}; swap them")
    elif log and low <= 0:
        problems.append(f"{path}.low: {low} has no logarithm; use a low above 0, or leave log out")
    elif isinstance(low, float):
        if "step" in value:
            problems.append(f"{path}.step: only whole numbers have a step; leave it out")
        return Setting(FloatRange(low, high, log), per)
    else:
        step = decode_part(int, value.get("step", 1), f"{path}.step", problems)
        if len(problems) == before and step < 1:
            problems.append(f"{path}.step: {step} is below 1, the least")
        elif len(problems) == before:
            return Setting(IntRange(low, high, step, log), per)
    return None


def _choice(options: list[Any], hint: Any, per: Scope, path: str, problems: list[str]) -> Setting | None:
    before = len(problems)
    if not options:
        problems.append(f"{path}: the list is empty; give at least one value")
    single = len(options) == 1
    values = tuple(decode_part(hint, v, path if single else f"{path}[{i}]", problems) for i, v in enumerate(options))
    if len(set(map(str, values))) < len(values) and len(problems) == before:
        problems.append(f"{path}: a value is listed twice")
    return Setting(Choice(values), per) if len(problems) == before else None
