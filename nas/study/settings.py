"""What a search is asked for, as one value, and the study file that may hold it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from nas.arch.recipe import AugmentationKind, ClassWeights
from nas.costs import Budget, Count
from nas.decode import Bounds, decode, read_toml
from nas.errors import UsageError

DEFAULT_TRIALS = 100  # where neither a number of trials nor a time is given

GIVEN_IN_PYTHON = "python:"  # before the class of a sampler that a Python program gave

# What settings were called before; files and calls that use the old names still work.
RENAMED = {"trials": "max_trials", "time": "max_seconds", "seeds": "num_seeds", "colour": "color"}


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What a study file holds. A resumed study may change the fields in `CHANGEABLE` alone."""

    max_params: Annotated[int, Bounds(1, 1_000_000_000)]  # the hard budget
    max_macs: Annotated[int, Bounds(1, 10**15)] | None = None
    max_activation_bytes: Annotated[int, Bounds(1, 10**15)] | None = None
    max_flash: Annotated[int, Bounds(1, 10**15)] | None = None  # bytes of a microcontroller's, in 8 bits
    max_ram: Annotated[int, Bounds(1, 10**15)] | None = None  # bytes of a microcontroller's, in 8 bits
    count: Count = "trained"  # which parameters `max_params`, the front and the answer go by
    dataset: str = "mnist"  # a known name, or the path of a folder of images or of an .npz file
    image_size: Annotated[int, Bounds(4, 1024)] | None = None  # pixels; folders only
    color: bool | None = None  # folders only; None is what the images are
    space: str = "general"  # a shipped space, or a .toml file
    epochs: Annotated[int, Bounds(1, 10_000)] | None = None  # of a training; None is what the space says
    class_weights: ClassWeights | None = None  # in the loss of a training; None is what the space says
    augmentation_kind: AugmentationKind | None = None  # of a training's images; None is what the space says
    seed: Annotated[int, Bounds(0, 2**31 - 1)] = 0
    sampler: str = "auto"  # of the networks to try: our own, or one of Optuna's; or python:CLASS
    train: str | None = None  # the name of the function that trains, given in Python; None is our own training
    warm_start: tuple[str, ...] = ()  # studies, 'reference' or .toml files whose networks are the first trials
    target: Annotated[float, Bounds(0.0, 100.0)] | None = None  # percent of the test set
    stop_at_first: bool = False  # end at the first network that meets the target, not at the smallest to be found
    max_trials: Annotated[int, Bounds(1, 1_000_000)] | None = None  # finished trials at which the search ends
    max_seconds: Annotated[float, Bounds(0.0, 1e9)] | None = None  # of all runs together, confirmations included
    num_seeds: Annotated[int, Bounds(1, 100)] = 3  # trainings of a confirmation

    @property
    def budget(self) -> Budget:
        """The hard budget."""
        limits = self.max_macs, self.max_activation_bytes, self.max_flash, self.max_ram
        return Budget(self.max_params, *limits, count=self.count)

    @property
    def given_in_python(self) -> dict[str, str]:
        """What was given as an object of Python, which no command line can give, and its name there."""
        given = {} if self.train is None else {"train": self.train}
        if self.sampler.startswith(GIVEN_IN_PYTHON):
            given["sampler"] = self.sampler.removeprefix(GIVEN_IN_PYTHON)
        return given

    @property
    def trials_limit(self) -> int | None:
        """Finished trials at which the search ends; None where time alone ends it."""
        return DEFAULT_TRIALS if self.max_trials is None and self.max_seconds is None else self.max_trials


# Data and space are in it since their content decides whether a study may go on, not their names or places.
CHANGEABLE = frozenset({"dataset", "space", "target", "stop_at_first", "max_trials", "max_seconds", "num_seeds"})


def with_present_names(document: Mapping[str, Any]) -> dict[str, Any]:
    """`document` with each old name of a setting replaced by the present one.

    Raises:
        UsageError: a setting is given by both of its names.
    """
    if both := [old for old, new in RENAMED.items() if old in document and new in document]:
        raise UsageError(f"{both[0]} is the old name of {RENAMED[both[0]]}, and both are given; leave {both[0]} out")
    return {RENAMED.get(name, name): value for name, value in document.items()}


def read_settings(path: Path) -> StudySettings:
    """Return the settings in the study file at `path`.

    Raises:
        InvalidError: with every problem in the file.
    """
    return decode(StudySettings, with_present_names(read_toml(path)), str(path))
