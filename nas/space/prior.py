"""The prior of a space: networks as its file says they are likely to be good.

A space without priors says nothing: its draws are even, and every network is as likely as any other.
"""

from __future__ import annotations

import random

from nas.space.assemble import Genes
from nas.space.domains import Value
from nas.space.schema import Space


def draw_from_prior(space: Space, rng: random.Random) -> dict[str, Value]:
    """Return one value for every gene, drawn independently: from its prior, or evenly where it has none."""
    return {name: (space.priors.get(name) or domain).draw(rng) for name, domain in space.genes.items()}


def log_prior(space: Space, genes: Genes) -> float:
    """Return the logarithm of how much likelier the prior draws `genes`, some or all, than even draws do; 0 without."""
    return sum(prior.log_ratio(genes[name]) for name, prior in space.priors.items() if name in genes)
