"""The prior of one gene: the values of its domain that are likely to be good, and how strongly that is believed.

A prior mixes two draws. With the probability `strength` a draw follows what the space file states; otherwise it is an
even draw from the domain. So no value is ever ruled out, and a wrong prior can be recovered from (Mallik et al. 2023,
PriorBand, section 4.1, mix both as well).
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any

from nas.decode import Bounds, decode_part, show_value
from nas.errors import near_misses
from nas.space.domains import MAX_OPTIONS, Choice, Domain, FloatRange, IntRange, Value, domain_text

DEFAULT_STRENGTH = 0.9
SPREAD = 0.05  # standard deviation around the likely value of a range, in parts of the range on the scale of its draws

Strength = Annotated[float, Bounds(0.0, 1.0, open_high=True)]
Weight = Annotated[float, Bounds(0.0, 1e6)]


@dataclass(frozen=True, slots=True)
class _LikelyValues:
    """A weight for each value of a domain that can be listed."""

    domain: Choice | IntRange
    weights: tuple[float, ...]  # as many as the domain has values, of sum 1

    def draw(self, rng: random.Random) -> Value:
        return rng.choices(self.domain.values(), self.weights)[0]

    def ratio(self, value: Value) -> float:
        """Return how much likelier `value` is than in an even draw."""
        return self.weights[self.domain.values().index(value)] / _even_share(self.domain, value)


@dataclass(frozen=True, slots=True)
class _LikelyNumber:
    """A normal distribution around `center`, cut off at the ends of the range."""

    domain: FloatRange
    center: float

    def _normal(self) -> tuple[NormalDist, float, float]:
        low, high = (_scaled(self.domain, end) for end in (self.domain.low, self.domain.high))
        return NormalDist(_scaled(self.domain, self.center), SPREAD * (high - low)), low, high

    def draw(self, rng: random.Random) -> Value:
        normal, low, high = self._normal()
        number = rng.gauss(normal.mean, normal.stdev)
        while not low <= number <= high:  # the center lies within, so that nearly half of the draws do
            number = rng.gauss(normal.mean, normal.stdev)
        value = math.exp(number) if self.domain.log else number
        return min(max(value, self.domain.low), self.domain.high)

    def ratio(self, value: Value) -> float:
        """Return how much denser the draws are around `value` than even ones."""
        normal, low, high = self._normal()
        within = normal.cdf(high) - normal.cdf(low)
        return normal.pdf(_scaled(self.domain, float(value))) * (high - low) / within


@dataclass(frozen=True, slots=True)
class Prior:
    """What a space file says is likely to be good for one gene; `text` says it in a few words."""

    likely: _LikelyValues | _LikelyNumber
    strength: float  # probability that a draw follows it
    text: str

    def draw(self, rng: random.Random) -> Value:
        """Draw one value."""
        return self.likely.draw(rng) if rng.random() < self.strength else self.likely.domain.draw(rng)

    def log_ratio(self, value: Value) -> float:
        """Return the logarithm of how much likelier `value` is than in an even draw; about 0 where nothing is said."""
        ratio = 1 - self.strength + self.strength * self.likely.ratio(value)
        return math.log(max(ratio, 1e-9))


def decode_prior(value: Any, domain: Domain, path: str, problems: list[str]) -> Prior | None:
    """Return `value` of a space file as the prior of a gene of `domain`.

    It is a likely value, or a table with `value` or `weights` (a number for each option, by its name) and `strength`.
    Problems are appended to `problems`, and then the result is None.
    """
    before = len(problems)
    table = value if isinstance(value, Mapping) else {"value": value}
    known = {"value", "weights", "strength"}
    problems += [f"{path}.{key}: unknown key; {near_misses(str(key), known)}" for key in table if key not in known]
    strength = decode_part(Strength, table.get("strength", DEFAULT_STRENGTH), f"{path}.strength", problems)
    likely: _LikelyValues | _LikelyNumber | None = None
    if ("value" in table) == ("weights" in table):
        problems.append(f"{path}: a prior has either a value or weights")
    elif "value" in table:
        at = f"{path}.value" if isinstance(value, Mapping) else path
        likely = _around(table["value"], domain, at, problems)
    else:
        likely = _weighted(table["weights"], domain, f"{path}.weights", problems)
    if likely is None or len(problems) > before:
        return None
    stated = table.get("value", table.get("weights"))
    words = (
        ", ".join(f"{name} x{weight:g}" for name, weight in stated.items())
        if isinstance(stated, Mapping)
        else _name(stated)
    )
    return Prior(likely, strength, f"likely {words}, strength {strength:g}")


def _around(value: Any, domain: Domain, path: str, problems: list[str]) -> _LikelyValues | _LikelyNumber | None:
    """Return draws at `value` of a list, and around `value` of a range."""
    if isinstance(domain, FloatRange):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and domain.contains(value):
            return _LikelyNumber(domain, float(value))
    elif isinstance(domain, IntRange):
        if domain.contains(value):
            return _LikelyValues(domain, _weights_around(domain, value))
    elif value in domain.options and isinstance(value, bool) == isinstance(domain.options[0], bool):
        return _LikelyValues(domain, tuple(float(option == value) for option in domain.options))
    problems.append(f"{path}: {show_value(value)} is no value of this gene, which has {domain_text(domain)}")
    return None


def _weighted(weights: Any, domain: Domain, path: str, problems: list[str]) -> _LikelyValues | None:
    before = len(problems)
    if isinstance(domain, FloatRange) or domain.size > MAX_OPTIONS:
        problems.append(f"{path}: only up to {MAX_OPTIONS} values can have weights; state the likely value instead")
    elif not isinstance(weights, Mapping):
        problems.append(f"{path}: {show_value(weights)} is not a table of values with their weights")
    else:
        values = {_name(value): value for value in domain.values()}
        problems += [f"{path}.{n}: unknown value; {near_misses(n, values)}" for n in weights if n not in values]
        numbers = [decode_part(Weight, weights.get(name, 0.0), f"{path}.{name}", problems) for name in values]
        if len(problems) == before:
            total = sum(numbers)
            if total > 0:
                return _LikelyValues(domain, tuple(number / total for number in numbers))
            problems.append(f"{path}: no weight is above 0; give at least one value a weight")
    return None


def _name(value: Any) -> str:
    """Return `value` as a space file has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _scaled(domain: FloatRange | IntRange, number: float) -> float:
    """Return `number` on the scale over which draws of `domain` are even."""
    return math.log(number) if domain.log else number


@functools.lru_cache(maxsize=256)
def _edges(domain: IntRange) -> Sequence[float]:
    """Return the ends of the interval of each value on the scale of the draws: one more than there are values."""
    half = domain.step / 2
    return [_scaled(domain, end - half) for end in range(domain.low, domain.high + domain.step + 1, domain.step)]


def _weights_around(domain: IntRange, center: int) -> tuple[float, ...]:
    edges = _edges(domain)
    normal = NormalDist(_scaled(domain, center), SPREAD * (edges[-1] - edges[0]))
    weights = [normal.cdf(high) - normal.cdf(low) for low, high in itertools.pairwise(edges)]
    return tuple(weight / sum(weights) for weight in weights)


def _even_share(domain: Choice | IntRange, value: Value) -> float:
    """Return the probability of `value` in an even draw."""
    if isinstance(domain, Choice) or not domain.log:
        return 1 / domain.size
    edges, index = _edges(domain), domain.values().index(value)
    return (edges[index + 1] - edges[index]) / (edges[-1] - edges[0])
