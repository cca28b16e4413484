"""Which genes mattered: how much of the order of the completed trials each gene explains by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any

from nas.study.records import TrialRecord

MIN_TRIALS = 20  # completed; with fewer, chance explains as much as any gene
_MOST_BINS = 4
_LEAST_IN_BIN = 4  # trials; a smaller bin says nothing and is left out
_CHANCE = 0.05  # of a gene being called clear in a study in which none matters


@dataclass(frozen=True, slots=True)
class GeneEffect:
    """What one gene explains."""

    name: str
    share: float  # 0 to 1, of the variance of the trials' ranks, less what chance alone explains on average
    clear: bool  # more than chance gives, all genes considered together
    num_trials: int
    best: str  # the values whose trials rank best


def gene_effects(records: Sequence[TrialRecord]) -> list[GeneEffect]:
    """Return the genes by their share, the largest first; none below `MIN_TRIALS` completed trials.

    A gene's values are put into up to four bins, and the share is eta squared over the ranks of validation accuracy
    (Kruskal and Wallis 1952), less its mean under chance (Kelley 1935). Genes that take a single value are left out.
    """
    completed = [r for r in records if r.fate == "completed"]
    if len(completed) < MIN_TRIALS:
        return []
    ranks = average_ranks([r.validation_accuracy for r in completed])
    names = sorted({name for r in completed for name in r.genes})
    binned = {name: _bins([(r.genes[name], rank) for r, rank in zip(completed, ranks, strict=True) if name in r.genes])
              for name in names}  # fmt: skip
    tested = {name: bins for name, bins in binned.items() if len(bins) > 1}
    effects = [_effect(name, bins, _CHANCE / len(tested)) for name, bins in tested.items()]
    return sorted(effects, key=lambda e: (-e.share, e.name))


def _effect(name: str, bins: Mapping[str, list[float]], chance: float) -> GeneEffect:
    ranks = [rank for bin_ranks in bins.values() for rank in bin_ranks]
    mean, trials, freedom = fmean(ranks), len(ranks), len(bins) - 1
    total = sum((rank - mean) ** 2 for rank in ranks)
    between = sum(len(group) * (fmean(group) - mean) ** 2 for group in bins.values())
    eta_squared = between / total if total else 0.0
    share = 1 - (1 - eta_squared) * (trials - 1) / (trials - 1 - freedom)
    clear = (trials - 1) * eta_squared > chi_squared_quantile(1 - chance, freedom)
    best = max(bins, key=lambda label: fmean(bins[label]))
    return GeneEffect(name, max(0.0, share), clear, trials, best)


def chi_squared_quantile(probability: float, freedom: int) -> float:
    """Return a quantile of the chi-squared distribution, off by at most a few hundredths (Wilson and Hilferty 1931)."""
    if freedom == 1:  # the square of a normal, exactly; there the cube root is at its worst
        return NormalDist().inv_cdf((1 + probability) / 2) ** 2
    slope = 2 / (9 * freedom)
    root: float = 1 - slope + NormalDist().inv_cdf(probability) * slope**0.5
    return freedom * root**3


def average_ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value, 1 for the least; equal values share the mean of their ranks."""
    places: dict[float, list[int]] = {}
    for place, value in enumerate(sorted(values), start=1):
        places.setdefault(value, []).append(place)
    return [fmean(places[value]) for value in values]


def _bins(pairs: Sequence[tuple[Any, float]]) -> dict[str, list[float]]:
    """Return ranks by bin: a bin for each value where these are few or words, else for each quarter of the numbers."""
    values = {value for value, _ in pairs}
    if len(values) <= _MOST_BINS or not all(_is_number(value) for value in values):
        groups = {_text(value): [rank for v, rank in pairs if v == value] for value in sorted(values, key=str)}
    else:
        ordered = sorted(value for value, _ in pairs)
        edges = sorted({ordered[len(ordered) * k // _MOST_BINS] for k in range(_MOST_BINS)})
        groups = {}
        for low, high in zip(edges, [*edges[1:], float("inf")], strict=True):
            inside = [(v, rank) for v, rank in pairs if low <= v < high]
            least, most = min(v for v, _ in inside), max(v for v, _ in inside)
            label = _text(least) if least == most else f"{_text(least)} to {_text(most)}"
            groups[label] = [rank for _, rank in inside]
    return {label: group for label, group in groups.items() if len(group) >= _LEAST_IN_BIN}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
