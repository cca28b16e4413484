"""Networks as numbers that a model learns from."""

from __future__ import annotations

import math

import numpy as np

from nas.space import Choice, Domain, Genes, Space, log_prior
from nas.strategy.accuracy_model import Array


class NetworkInputs:
    """Numbers around zero: logarithms of the parameters and of the space's prior, then the genes that have an effect.

    Genes of a stage or block that the network does not have are 0, in the middle, whatever their value. Genes of one
    key, such as all widths, are one group: a model that learns how much a group matters needs few trainings. The more
    genes a space has, the less each is taken to matter, so that the random networks of all spaces differ as much.
    """

    SCALE = 1000  # parameters whose logarithm is 0
    PRIOR_SCALE = 10  # logarithm of the prior that is 1
    GENES = 8  # of a space whose genes are from -0.5 to 0.5

    def __init__(self, space: Space) -> None:
        self._space = space
        self._gene_scale = math.sqrt(self.GENES / max(1, len(space.genes)))
        keys = list(dict.fromkeys(space.keys.values()))
        self._lengths = {name: len(_numbers(d, d.values()[0])) for name, d in space.genes.items()}
        groups = [0, -1]
        for name, length in self._lengths.items():
            groups += [1 + keys.index(space.keys[name])] * length
        self.groups: Array = np.array(groups, dtype=float)
        # Where the gene lies: its stage, and its block in it; None for genes of a whole network or stage.
        most_stages = int(max(space.settings["stages.count"].domain.values()))
        most_blocks = int(max(space.settings["stages.blocks"].domain.values()))
        self._places: dict[str, tuple[int, int]] = {}
        for key in keys:
            per = space.settings[key].per
            for stage in range(1, most_stages + 1) if per != "network" else ():
                for block in range(1, most_blocks + 1) if per == "block" else (1,):
                    if (name := space.gene(key, stage, block)) in space.genes:
                        self._places[name] = stage, block

    def of(self, genes: Genes, num_params: int) -> list[float]:
        """Return the inputs of a network."""
        stages = int(self._space.value(genes, "stages.count"))
        blocks = [int(self._space.value(genes, "stages.blocks", stage)) for stage in range(1, stages + 1)]
        effective, numbers = {}, []
        for name, domain in self._space.genes.items():
            stage, block = self._places.get(name, (1, 1))
            if stage <= stages and block <= blocks[stage - 1]:
                effective[name] = genes[name]
                numbers += [self._gene_scale * number for number in _numbers(domain, genes[name])]
            else:
                numbers += [0.0] * self._lengths[name]
        prior = log_prior(self._space, effective) / self.PRIOR_SCALE
        return [math.log(num_params / self.SCALE), prior, *numbers]


def _numbers(domain: Domain, value: object) -> list[float]:
    """Return a value as numbers from -0.5 to 0.5: one for a range or two options, else one for each option."""
    if isinstance(domain, Choice):
        if len(domain.options) == 2:
            return [0.5 if value == domain.options[1] else -0.5]
        return [0.5 if value == option else -0.5 for option in domain.options]
    assert isinstance(value, (int, float))
    if domain.low > 0:
        return [math.log(value / domain.low) / math.log(domain.high / domain.low) - 0.5]
    return [(value - domain.low) / (domain.high - domain.low) - 0.5]
