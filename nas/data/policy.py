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
    cutout: float = 0.0  # side of a square that is blanked, as a fraction of the image's (DeVries and Taylor 2017)
    color: float = 0.0  # 0.2: brightness, contrast and saturation, each times 0.8 to 1.2


# What a person can ask for, whatever the data set.
POLICIES = {
    "glyphs": AugmentationPolicy(rotation=10.0, shift=0.1, scale=0.1, shear=5.0),
    "photos": AugmentationPolicy(shift=0.125, mirror=True, cutout=0.25, color=0.2),
}
