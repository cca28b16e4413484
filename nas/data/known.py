"""The data sets that are known by name, and what is known of each before any of its images is read."""

from __future__ import annotations

from dataclasses import dataclass

from nas.arch import Input
from nas.data.policy import POLICIES, AugmentationPolicy

VALIDATION_FRACTION = 1 / 6  # of the training images; MNIST's 60,000 become 50,000 and 10,000


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A named data set."""

    shape: Input  # of one image
    num_classes: int
    num_train: int  # images, those that validate included
    num_test: int
    policy: AugmentationPolicy  # how its images may be augmented

    @property
    def images(self) -> tuple[Input, int]:
        """The shape of an image and the number of classes: what a space is opened for."""
        return self.shape, self.num_classes

    @property
    def num_validation(self) -> int:
        """The number of training images that validate."""
        return round(self.num_train * VALIDATION_FRACTION)


_GLYPHS = POLICIES["glyphs"]
_PHOTOS = AugmentationPolicy(shift=0.125, mirror=True)
_GARMENTS = AugmentationPolicy(rotation=4.0, shift=0.08, scale=0.08, mirror=True)
# A tenth of 8 pixels is most of a stroke's width.
_SMALL_GLYPHS = AugmentationPolicy(rotation=10.0, shift=0.06, scale=0.1, shear=5.0)
# For images of which nothing is known: no mirror, since they may show text or signs.
OWN_IMAGES_POLICY = AugmentationPolicy(rotation=5.0, shift=0.08, scale=0.08)

_GRAY, _COLOR = Input(1, 28, 28), Input(3, 32, 32)
KNOWN_DATASETS = {
    "mnist": KnownDataset(_GRAY, 10, 60_000, 10_000, _GLYPHS),
    "fashion_mnist": KnownDataset(_GRAY, 10, 60_000, 10_000, _GARMENTS),
    "kmnist": KnownDataset(_GRAY, 10, 60_000, 10_000, _GLYPHS),
    "emnist_letters": KnownDataset(_GRAY, 26, 124_800, 20_800, _GLYPHS),
    "cifar10": KnownDataset(_COLOR, 10, 50_000, 10_000, _PHOTOS),
    "cifar100": KnownDataset(_COLOR, 100, 50_000, 10_000, _PHOTOS),
    "svhn": KnownDataset(_COLOR, 10, 73_257, 26_032, _GLYPHS),
    "digits": KnownDataset(Input(1, 8, 8), 10, 1_438, 359, _SMALL_GLYPHS),
}
