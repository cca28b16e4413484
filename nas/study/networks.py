"""The networks of a study's trials, made again from their genes, and the images that they are for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence

from nas.arch import Architecture, Input
from nas.data.known import KNOWN_IMAGES
from nas.errors import NasError
from nas.space import candidate, load_space
from nas.study.records import TrialRecord
from nas.study.settings import StudyFolder, StudySettings

# Images that validate and that test, so that a report needs neither data nor torch.
KNOWN_PARTS = {
    "mnist": (10_000, 10_000),
    "fashion_mnist": (10_000, 10_000),
    "kmnist": (10_000, 10_000),
    "emnist_letters": (20_800, 20_800),
    "cifar10": (8_333, 10_000),
    "cifar100": (8_333, 10_000),
    "svhn": (12_210, 26_032),
    "digits": (240, 359),
}


def architectures(
    folder: StudyFolder, records: Sequence[TrialRecord], images: tuple[Input, int] | None
) -> dict[int, Architecture]:
    """The networks of the trials, made again from their genes and the frozen space; none without the images' shape."""
    if images is None:
        return {}
    space = load_space(str(folder.space_file), *images)
    made = {r.number: (r, candidate(space, r.genes)) for r in records}
    return {number: c.architecture for number, (r, c) in made.items() if c is not None and c.digest == r.digest}


def study_images(
    folder: StudyFolder, settings: StudySettings
) -> tuple[tuple[Input, int] | None, tuple[int, int] | None]:
    """The shape and classes of the images, and how many validate and test.

    Images of one's own have to be there for it the first time; what was found is kept beside the study.
    """
    if settings.dataset in KNOWN_IMAGES:
        return KNOWN_IMAGES[settings.dataset], KNOWN_PARTS.get(settings.dataset)
    kept = folder.run / "images.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        *shape, classes, num_validation, num_test = json.loads(kept.read_text())
        return (Input(*shape), classes), (num_validation, num_test)
    # These bring torch, which other studies can spare.
    from nas.app.search import study_dataset
    from nas.data.images import VALIDATION_FRACTION, split

    try:
        dataset = study_dataset(folder, None)
    except NasError:
        return None, None
    num_validation = len(split(dataset.train.labels, VALIDATION_FRACTION, settings.seed)[1])
    found = (*dataset.image_shape, dataset.num_classes, num_validation, len(dataset.test))
    with contextlib.suppress(OSError):
        kept.write_text(json.dumps(found) + "\n")
    return (Input(*dataset.image_shape), dataset.num_classes), (num_validation, len(dataset.test))
