"""Load a data set by name, or by the path of a folder of images or of an `.npz` file."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.images import Dataset, LoadedImages, fingerprint
from nas.data.known import KNOWN_DATASETS, OWN_IMAGES_POLICY
from nas.data.policy import AugmentationPolicy
from nas.errors import DataError, near_misses


def load_dataset(
    name: str, data_dir: Path | None = None, image_size: int | None = None, color: bool | None = None
) -> Dataset:
    """Return the data set called `name`, or the folder of images or `.npz` file of arrays at that path.

    Args:
        name: a known name wins over a folder of the same name; `./mnist` means the folder.
        data_dir: where the files of named sets are; by default $NAS_DATA_DIR, else the cache folder.
        image_size: pixels of both sides; for folders alone.
        color: whether images have three channels; None leaves that to the images. For folders alone.

    Raises:
        DataError: the data set is unknown, missing, damaged or cannot be downloaded, or an argument does not apply.
    """
    # Each loader is imported where it is needed: torchvision and scikit-learn take a second each to import.
    has_form = image_size is not None or color is not None
    if name in KNOWN_DATASETS:
        if has_form:
            raise DataError(
                f"the images of {name} have a fixed size and color; `image_size` and `color` are for a folder of "
                "images only, leave them out"
            )
        return _dataset(name, _load_known(name, data_dir), KNOWN_DATASETS[name].policy)
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if name.lower().endswith(".npz"):
        from nas.data import arrays

        if has_form:
            raise DataError(f"the arrays of {name} are taken as they are; leave `image_size` and `color` out")
        return _dataset(str(path), arrays.load(path), OWN_IMAGES_POLICY)
    if name and (os.sep in name or "/" in name or path.is_dir()):
        from nas.data import folder

        return _dataset(str(path), folder.load(path, image_size, color), OWN_IMAGES_POLICY)
    raise DataError(
        f"unknown data set {name!r}, and no folder of that name (your own images are named by the path of a folder "
        f"that holds one folder per class); {near_misses(name, KNOWN_DATASETS)}"
    )


def _load_known(name: str, data_dir: Path | None) -> LoadedImages:
    if name == "digits":
        from nas.data import digits

        return digits.load()
    from nas.data import torchvision_sets

    return torchvision_sets.load(name, data_dir)


def _dataset(name: str, images: LoadedImages, policy: AugmentationPolicy) -> Dataset:
    train, test, classes, validation = images
    return Dataset(name, train, test, classes, policy, fingerprint(images), validation)
