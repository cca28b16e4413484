"""Data sets by name, by the path of a folder of images, or by that of an `.npz` file."""

from __future__ import annotations

import os
from pathlib import Path

from nas.data.images import Dataset, fingerprint
from nas.data.known import KNOWN_DATASETS, OWN_IMAGES_POLICY
from nas.errors import DataError, near_misses


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
    if name in KNOWN_DATASETS:
        if image_size is not None or color is not None:
            raise DataError(
                f"the images of {name} have a fixed size and color; an image size or color can be asked for "
                "a folder of images only"
            )
        if name == "digits":
            from nas.data import digits

            train, test, classes = digits.load()
        else:
            from nas.data import torchvision_sets

            train, test, classes = torchvision_sets.load(name, data_dir)
        return Dataset(name, train, test, classes, KNOWN_DATASETS[name].policy, fingerprint(train, test))
    if name.endswith(".npz"):
        from nas.data import arrays

        if image_size is not None or color is not None:
            raise DataError(f"the arrays of {name} are taken as they are; leave the image size and color out")
        path = Path(os.path.abspath(Path(name).expanduser()))
        train, test, classes = arrays.load(path)
        return Dataset(str(path), train, test, classes, OWN_IMAGES_POLICY, fingerprint(train, test))
    if name and (os.sep in name or "/" in name or Path(name).expanduser().is_dir()):
        from nas.data import folder

        root = Path(os.path.abspath(Path(name).expanduser()))
        train, test, classes = folder.load(root, image_size, color)
        return Dataset(str(root), train, test, classes, OWN_IMAGES_POLICY, fingerprint(train, test))
    raise DataError(
        f"unknown data set {name!r}, and no folder of that name (your own images are named by the path of a folder "
        f"that holds one folder per class); {near_misses(name, KNOWN_DATASETS)}"
    )
