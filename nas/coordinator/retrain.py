"""A trial's training, done again from its seed: on the same machine and versions it comes out the same to the bit."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from nas.arch import Input, lower
from nas.data.images import Dataset
from nas.data.split import parts_of
from nas.errors import StudyError
from nas.model.build import build
from nas.space import load_space
from nas.storage.study_store import Store
from nas.study.decision_log import Ended, read_log
from nas.study.folder import StudyFolder
from nas.study.kept import known_candidate
from nas.study.recipe import trial_recipe
from nas.train.device import use_one_thread
from nas.train.engine import train
from nas.train.prepared_data import prepare
from nas.train.software import describe_software


@dataclass(frozen=True)
class Retrained:
    """A trial's validation accuracies, percent, one an epoch: then and now, and on which versions."""

    trial: int
    was: tuple[float, ...]
    now: tuple[float, ...]
    versions_then: str
    versions_now: str

    @property
    def is_same(self) -> bool:
        """Whether they are the same to the bit."""
        return self.was == self.now

    def __str__(self) -> str:
        if self.is_same:
            return f"trial {self.trial}: {len(self.was)} epochs trained again, the same accuracies to the bit"
        largest = max(abs(a - b) for a, b in zip(self.was, self.now, strict=True))
        return (
            f"trial {self.trial}: the accuracies of {len(self.was)} epochs differ by up to {largest:.2f} points; then "
            f"{self.versions_then}; now {self.versions_now}, on one thread of this CPU"
        )


def retrain(folder: StudyFolder, number: int, dataset: Dataset) -> Retrained:
    """Train trial `number` again with its seed, on one thread of the CPU, for as many epochs as it was trained.

    Raises:
        NasError: there is no such trial, it was not trained, or the training cannot go on.
    """
    record = Store(folder).record(number)
    if not record.validation_curve:
        raise StudyError(f"trial {number} ({record.fate}) was never trained")
    settings = folder.settings()
    if settings.train is not None:
        raise StudyError(
            f"trial {number} was trained by the function {settings.train}, given in Python, which alone can do it "
            f"again; without a trial, the draws are derived again"
        )
    space = load_space(str(folder.space_file), Input(*dataset.image_shape), dataset.num_classes)
    found = known_candidate(space, record)
    if found is None:
        raise StudyError(f"the genes of trial {number} give another network than was trained")
    recipe = trial_recipe(space, settings, record.genes)
    parts, cpu = parts_of(dataset, settings.seed), torch.device("cpu")
    use_one_thread(cpu)
    data = prepare(parts.train, parts.validation, parts.policy, cpu)
    torch.manual_seed(record.seed)
    network = build(lower(found.architecture))
    epochs = itertools.islice(train(network, recipe, data, record.seed), len(record.validation_curve))
    now = tuple(epoch.accuracy for epoch in epochs)
    return Retrained(number, record.validation_curve, now, _versions_of(folder, number), describe_software())


def _versions_of(folder: StudyFolder, number: int) -> str:
    for run in reversed(read_log(folder.log_file)):
        if any(isinstance(event, Ended) and event.trial == number for event in run.events):
            return run.began.versions
    return "versions that the log does not hold"
