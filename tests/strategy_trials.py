"""Made-up trials in the space `tiny_digits`, and what a search believes that has seen them."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from nas.data.known import KNOWN_DATASETS
from nas.space import load_space, random_genes
from nas.strategy.beliefs import Beliefs
from nas.strategy.observations import Observation
from nas.study.records import Fate

EPOCHS = 4
NUM_MACS = 100_000  # of every network
SPACE = load_space("tiny_digits", *KNOWN_DATASETS["digits"].images)


def trial(number: int, num_params: int, error: float, epochs: int = EPOCHS, fate: Fate | None = None) -> Observation:
    """Return a trial whose error falls from four times `error` to `error`, seen for so many epochs."""
    curve = tuple(100 - error * factor for factor in (4.0, 2.0, 1.5, 1.0))[:epochs]
    final = curve[-1] if epochs == EPOCHS else None
    genes = random_genes(SPACE, random.Random(number))
    default: Fate = "completed" if epochs == EPOCHS else "running"
    return Observation(number, genes, num_params, NUM_MACS, str(number), fate or default, curve, final)


def believe(trials: Sequence[Observation], confirmed: Mapping[int, tuple[float, ...]] = {}) -> Beliefs:
    """Return what is believed after `trials` and the figures of `confirmed`, by trial."""
    beliefs = Beliefs(SPACE, EPOCHS)
    for seen in trials:
        beliefs.learn(seen)
    for number, figures in confirmed.items():
        beliefs.learn_confirmation(number, figures)
    return beliefs
