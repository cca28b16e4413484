"""Random samples of labelled images in which every class has its share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def stratified_sample(labels: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Return the indices of `count` images, sorted, int64, in which each class has its share.

    Each class has at least one where `count` is enough for that; all images are returned where there are no more.

    Args:
        labels: int64 (N,), in any order.
        count: of images, at least 1.
        seed: decides which images of a class are taken.
    """
    if count >= len(labels):
        return torch.arange(len(labels))
    members = members_of(labels)
    sizes = [len(indices) for indices in members]
    low = int(count >= len(members))
    counts = shares(sizes, count / len(labels), [low] * len(sizes), sizes)
    return torch.cat(draw(members, counts, seed)).sort().values


def members_of(labels: torch.Tensor) -> list[torch.Tensor]:
    """Return the indices of each class that has images, int64, by label."""
    return [torch.nonzero(labels == c).flatten() for c in torch.unique(labels)]


def draw(members: Sequence[torch.Tensor], counts: Sequence[int], seed: int) -> list[torch.Tensor]:
    """Return as many indices of each class as `counts` says, in random order."""
    generator = torch.Generator().manual_seed(seed)
    pairs = zip(members, counts, strict=True)
    return [indices[torch.randperm(len(indices), generator=generator)[:count]] for indices, count in pairs]


def shares(sizes: Sequence[int], fraction: float, low: Sequence[int], high: Sequence[int]) -> list[int]:
    """Return how many of each class are taken, round(fraction * N) in all.

    The largest remainders take what rounding down left, all within `low` and `high` of each class.
    """
    found = [min(max(math.floor(fraction * n), lo), hi) for n, lo, hi in zip(sizes, low, high, strict=True)]
    missing = round(fraction * sum(sizes)) - sum(found)
    step = 1 if missing > 0 else -1
    bounds = high if missing > 0 else low
    for _ in range(abs(missing)):
        movable = [i for i in range(len(sizes)) if found[i] != bounds[i]]
        if not movable:
            break
        found[max(movable, key=lambda i: step * (fraction * sizes[i] - found[i]))] += step
    return found
