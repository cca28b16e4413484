"""How a network is trained: an immutable value beside the architecture, so spaces hold recipe genes without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Annotated, Literal

from nas.decode import Bounds, encode

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "step", "one_cycle", "cosine"]
ClassWeights = Literal["none", "balanced"]
AugmentationKind = Literal["data", "glyphs", "photos"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of one training; the defaults suit networks of a few thousand parameters on 28x28 images."""

    epochs: Annotated[int, Bounds(1, 10_000)] = 15
    batch_size: Annotated[int, Bounds(1, 65_536)] = 128  # images
    optimizer: Optimizer = "adam"
    learning_rate: Annotated[float, Bounds(1e-8, 100.0)] = 0.01  # the peak, where the schedule has one
    momentum: Annotated[float, Bounds(0.0, 1.0, open_high=True)] = 0.9  # sgd only
    nesterov: bool = True  # sgd only, and only with momentum
    weight_decay: Annotated[float, Bounds(0.0, 1.0)] = 0.0  # decoupled for adamw, L2 for the others; per step
    schedule: Schedule = "one_cycle"
    warmup: Annotated[float, Bounds(0.0, 1.0, open_high=True)] = 0.3  # fraction of all steps; one_cycle only
    step_epochs: Annotated[int, Bounds(1, 10_000)] = 6  # epochs between two drops; step only
    step_factor: Annotated[float, Bounds(0.0, 1.0)] = 0.1  # what the rate is multiplied by at a drop; step only
    # Decay, per step, of a running average of the weights, which is what is evaluated and kept; 0 is no averaging.
    averaging: Annotated[float, Bounds(0.0, 1.0, open_high=True)] = 0.0
    label_smoothing: Annotated[float, Bounds(0.0, 1.0, open_high=True)] = 0.0
    augmentation: Annotated[float, Bounds(0.0, 4.0)] = 0.0  # strength: 0 is none, 1 the data set's own full policy
    # What the loss of an image is multiplied by: balanced gives every class the same weight in sum, few images or many.
    class_weights: ClassWeights = "none"
    # What the images are augmented as: as is usual for the data set, as letters and digits, or as photographs.
    augmentation_kind: AugmentationKind = "data"


LATER_SETTINGS = ("class_weights", "augmentation_kind")  # which recipes did not have at first


def recipe_digest(recipe: Recipe) -> str:
    """Return 16 hexadecimal digits, equal for equal recipes.

    A recipe without the later settings keeps the digest that it had before: tables of trainings are keyed by them.
    """
    plain = encode(recipe)
    for name in LATER_SETTINGS:
        if plain[name] == encode(Recipe())[name]:
            del plain[name]
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
