"""Data sets as values: images and labels on the CPU, named or from a person's own folder, and the one split.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from nas.data.policy import AugmentationPolicy
from nas.errors import DataError, near_misses

VALIDATION_FRACTION = 1 / 6  # of the training images; MNIST's 60,000 become 50,000 and 10,000
DIGITS_TEST_FRACTION = 1 / 5
DIGITS_SPLIT_SEED = 0  # fixed: what is test data must not depend on a study's seed

_GLYPHS = AugmentationPolicy(rotation=10.0, shift=0.1, scale=0.1, shear=5.0)
_PHOTOS = AugmentationPolicy(shift=0.125, mirror=True)

POLICIES = {
    "mnist": _GLYPHS,
    "fashion_mnist": AugmentationPolicy(rotation=4.0, shift=0.08, scale=0.08, mirror=True),
    "kmnist": _GLYPHS,
    "emnist_letters": _GLYPHS,
    "cifar10": _PHOTOS,
    "cifar100": _PHOTOS,
    "svhn": _GLYPHS,
    # A tenth of 8 pixels is most of a stroke's width.
    "digits": AugmentationPolicy(rotation=10.0, shift=0.06, scale=0.1, shear=5.0),
}
FOLDER_POLICY = AugmentationPolicy(rotation=5.0, shift=0.08, scale=0.08)  # no mirror: it may hold text or signs


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, both on the CPU; `Dataset.fingerprint` is what tells two apart."""

    images: torch.Tensor  # uint8 (N, C, H, W), contiguous
    labels: torch.Tensor  # int64 (N,), from 0

    def subset(self, indices: torch.Tensor) -> ImageSet:
        """A copy of the images at `indices`, int64 (M,), in that order."""
        return ImageSet(self.images[indices], self.labels[indices])

    def __len__(self) -> int:
        """N, the number of images."""
        return self.labels.shape[0]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training part, a test part that takes no part in any choice, and how such images may be augmented."""

    name: str  # 'mnist', … or the folder's absolute path
    train: ImageSet
    test: ImageSet
    classes: tuple[str, ...]  # by label
    policy: AugmentationPolicy
    fingerprint: str  # 16 hex digits; see `fingerprint`

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image of both parts."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    @property
    def num_classes(self) -> int:
        """How many classes the labels name, whether or not all occur."""
        return len(self.classes)


def fingerprint(train: ImageSet, test: ImageSet) -> str:
    """16 hex digits of a SHA-256 over the shapes, images and labels of both parts; 0.03 s for MNIST's 55 MB."""
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(repr(tuple(part.images.shape)).encode())
        digest.update(part.images.contiguous().numpy().data)
        digest.update(part.labels.contiguous().numpy().data)
    return digest.hexdigest()[:16]


def load_dataset(
    name: str, data_dir: Path | None = None, image_size: int | None = None, color: bool | None = None
) -> Dataset:
    """The data set called `name`, or the folder of images or `.npz` file of arrays at that path.

    A known name wins over a folder of the same name; `./mnist` means the folder. `data_dir` is where the files of
    named sets lie (default: $NAS_DATA_DIR, else the user's cache folder). `image_size` (pixels, both sides) and
    `color` (None: as the images are) are for folders alone.

    Raises:
        DataError: the data set is unknown, missing, damaged or cannot be downloaded, or an option does not apply.
    """
    # Each loader is imported where it is needed: torchvision and scikit-learn take a second each to import.
    if name in POLICIES:
        if image_size is not None or color is not None:
            raise DataError(
                f"the images of {name} have a fixed size and color; an image size or color can be asked for "
                "a folder of images only"
            )
        if name == "digits":
            train, test, classes = _load_digits()
        else:
            from nas.data import torchvision_sets

            train, test, classes = torchvision_sets.load(name, data_dir)
        return Dataset(name, train, test, classes, POLICIES[name], fingerprint(train, test))
    if name.endswith(".npz"):
        from nas.data import arrays

        if image_size is not None or color is not None:
            raise DataError(f"the arrays of {name} are taken as they are; leave the image size and color out")
        path = Path(os.path.abspath(Path(name).expanduser()))
        train, test, classes = arrays.load(path)
        return Dataset(str(path), train, test, classes, FOLDER_POLICY, fingerprint(train, test))
    if name and (os.sep in name or "/" in name or Path(name).expanduser().is_dir()):
        from nas.data import folder

        root = Path(os.path.abspath(Path(name).expanduser()))
        train, test, classes = folder.load(root, image_size, color)
        return Dataset(str(root), train, test, classes, FOLDER_POLICY, fingerprint(train, test))
    raise DataError(
        f"unknown data set {name!r}, and no folder of that name (your own images are named by the path of a folder "
        f"that holds one folder per class); {near_misses(name, POLICIES)}"
    )


def split(labels: torch.Tensor, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Splits by class: (indices to train on, indices to validate on), both sorted int64, from `labels`, int64 (N,).

    round(fraction * N) images validate, shared among the classes by largest remainder. A class of two or more images
    has one in each part at least and a class of one image is trained on; where these need it, the total gives way.

    Raises:
        ValueError: `fraction` is not between 0 and 1, both excluded.
    """
    if not 0.0 < fraction < 1.0:
        raise ValueError(f"fraction {fraction} is not between 0 and 1")
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(labels == c).flatten() for c in torch.unique(labels)]
    taken = _shares([len(m) for m in members], fraction)
    validate = torch.zeros(len(labels), dtype=torch.bool)
    for indices, count in zip(members, taken, strict=True):
        validate[indices[torch.randperm(len(indices), generator=generator)[:count]]] = True
    return torch.nonzero(~validate).flatten(), torch.nonzero(validate).flatten()


def _shares(sizes: list[int], fraction: float) -> list[int]:
    """How many of each class validate: the largest remainders take what rounding down left, within each bound."""
    low = [min(1, size - 1) for size in sizes]
    high = [size - 1 for size in sizes]
    shares = [min(max(math.floor(fraction * n), lo), hi) for n, lo, hi in zip(sizes, low, high, strict=True)]
    missing = round(fraction * sum(sizes)) - sum(shares)
    step = 1 if missing > 0 else -1
    bounds = high if missing > 0 else low
    for _ in range(abs(missing)):
        movable = [i for i in range(len(sizes)) if shares[i] != bounds[i]]
        if not movable:
            break
        shares[max(movable, key=lambda i: step * (fraction * sizes[i] - shares[i]))] += step
    return shares


def _load_digits() -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """scikit-learn's 1,797 real digits of 8x8 pixels; a fixed fifth of each class is the test part."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).mul(255 / 16).round().to(torch.uint8).unsqueeze(1)  # gray levels 0 to 16
    whole = ImageSet(images, torch.from_numpy(bunch.target).long())
    train, test = split(whole.labels, DIGITS_TEST_FRACTION, DIGITS_SPLIT_SEED)
    return whole.subset(train), whole.subset(test), tuple(str(d) for d in range(10))
