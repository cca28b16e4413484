"""How the images of a data set may be augmented."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AugmentationPolicy:
    """The ranges of a data set's augmentation at full strength (1.0); a recipe's strength scales all but the mirror."""

    rotation: float = 0.0  # degrees, to either side
    shift: float = 0.0  # fraction of the image's size, to either side, each axis
    scale: float = 0.0  # 0.1 is 0.9 to 1.1
    shear: float = 0.0  # degrees, to either side
    mirror: bool = False  # left to right, half of the images; wrong for digits and letters
