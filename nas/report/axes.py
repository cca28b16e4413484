"""The axes of every picture of the front: size and error, both on a log scale.

The error is 100 minus the accuracy. On its log scale 99.0 and 99.4 stand apart; pictures label it with the accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log10

from nas.costs import Count
from nas.study.front import confirmed_front, validation_front
from nas.study.landmarks import Reference, references
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings

LEAST_ERROR = 0.01  # points; 100 % has no place on a log scale
_NEAR = 5.0  # times the least error: what is further away may lie outside
_AROUND = 1.6  # times beyond the study's own networks, where a published one is still near
_SIZE_DIGITS = (1, 2, 5)  # that labels begin with, on an axis of more than a decade
_FINE_SIZE_DIGITS = (1, 2, 3, 5)
_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 90)
_COARSE_ERRORS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 90)


# Towards what lies outside: by its row (-1 above, 1 below) and its column (-1 to the left, 1 to the right).
_ARROWS = {
    (-1, -1): "↖", (-1, 0): "↑", (-1, 1): "↗",
    (0, -1): "←", (0, 0): "", (0, 1): "→",
    (1, -1): "↙", (1, 0): "↓", (1, 1): "↘",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """A size of networks that a picture of the front may show from left to right."""

    name: str  # of the attribute
    label: str  # in a word
    unit: str  # of what it counts
    title: str
    limit: str  # the setting that bounds it
    count: Count | None = None  # of the studies that it is bounded in; None for all

    def is_known(self, records: Sequence[TrialRecord]) -> bool:
        """Return whether all of `records` have it: older studies kept less."""
        return all(getattr(record, self.name) is not None for record in records)

    def of(self, network: TrialRecord | Reference) -> int:
        """Return the size of a network."""
        return int(getattr(network, self.name))

    def most(self, settings: StudySettings) -> int | None:
        """Return the study's limit of it, or None."""
        limit: int | None = getattr(settings, self.limit)
        return limit if self.count in (None, settings.count) else None


PARAMETERS = Measure("num_params", "parameters", "parameters", "parameters", "max_params", "trained")
DEPLOYED = Measure(
    "deployed_params", "deployed", "parameters deployed", "parameters deployed", "max_params", "deployed"
)
FLASH = Measure("flash_bytes", "flash", "bytes of flash", "flash in 8 bits, bytes at most", "max_flash")
MEASURES = (
    PARAMETERS,
    DEPLOYED,
    Measure("num_macs", "MACs", "MACs", "multiply-accumulates for one image", "max_macs"),
    Measure(
        "peak_activation_bytes",
        "activations",
        "bytes of activations",
        "peak activations, bytes of float32",
        "max_activation_bytes",
    ),
    FLASH,
    Measure("ram_bytes", "RAM", "bytes of RAM", "RAM in 8 bits, bytes at most", "max_ram"),
)


def counted(settings: StudySettings) -> Measure:
    """Return the size that a study goes by."""
    return next(measure for measure in MEASURES if measure.count == settings.count)


@dataclass(frozen=True, slots=True)
class LogRange:
    """What an axis shows, on a log scale."""

    least: float
    most: float

    @property
    def decades(self) -> float:
        """How many powers of ten it spans."""
        return log10(self.most / self.least)

    def share(self, value: float) -> float:
        """Return 0 for `least` and 1 for `most`; other values lie below 0 or above 1."""
        return log10(value / self.least) / self.decades

    def within(self, values: Iterable[float]) -> list[float]:
        """Return those of `values` that the axis shows."""
        return [value for value in values if self.least <= value <= self.most]


@dataclass(frozen=True, slots=True)
class FrontAxes:
    """What a picture of the front shows: sizes from left to right, errors from the top to the bottom."""

    sizes: LogRange
    errors: LogRange

    def x(self, size: float) -> float:
        """Return the share of the width, 0 at the left, where a size lies."""
        return self.sizes.share(size)

    def y(self, accuracy: float) -> float:
        """Return the share of the height, 0 at the top, where an accuracy in percent lies; above 1 if too weak."""
        return self.errors.share(error_of(accuracy))

    def holds(self, size: float, accuracy: float) -> bool:
        """Return whether a network lies within the picture."""
        return 0 <= self.x(size) <= 1 and 0 <= self.y(accuracy) <= 1

    def size_labels(self) -> list[int]:
        """Return the sizes at which the axis is labeled."""
        return [int(size) for size in self.sizes.within(size_ticks(self.sizes))]

    def accuracy_labels(self) -> list[float]:
        """Return the accuracies, in percent, at which the axis is labeled."""
        return [100 - error for error in self.errors.within(error_ticks(self.errors))]


def front_axes(records: Sequence[TrialRecord], settings: StudySettings, measure: Measure | None = None) -> FrontAxes:
    """Return axes that show what is near the fronts: a few weak trials must not flatten everything else.

    The confirmed front is always in it, and the target unless all is far above. The axes are chosen by the study's own
    networks, and widened for published ones that are near those. Sizes are by default those that the study goes by.
    """
    measure = measure or counted(settings)
    trained = [r for r in records if r.fate in ("completed", "stopped") and r.num_epochs]
    figures = [r.confirmed for r in records if r.confirmed]
    shown = [*(r.validation_accuracy for r in validation_front(records)), *(f.mean for f in figures)]
    published = references(settings.dataset)
    has_own = bool(shown)
    if not has_own:
        shown = [reference.best_test_accuracy for reference in published]
    floor = 100 - _NEAR * error_of(max(shown, default=99.0))
    front = [r.confirmed.mean for r in confirmed_front(records) if r.confirmed]
    for figure in figures:
        # A bar that comes close to 100 % would take most of a log scale.
        spread = figure.spread or 0.0
        shown += [figure.mean - spread, min(figure.mean + spread, 100 - error_of(figure.mean) / 3)]
    near = [*front, *(accuracy for accuracy in shown if accuracy >= floor)]
    if settings.target is not None and settings.target >= 100 - _NEAR * error_of(min(near, default=99.0)):
        near.append(settings.target)
    errors = [error_of(accuracy) for accuracy in near] or [1.0, 10.0]
    # What was stopped far below the picture must not make it wider.
    worst = _AROUND * max(errors)
    trained = [r for r in trained if r.fate == "completed" or error_of(r.validation_accuracy) <= worst]
    limit = measure.most(settings)
    sizes: list[float] = [*([limit] if limit is not None else []), *(measure.of(r) for r in trained)]
    sizes = sizes or [measure.of(reference) for reference in published] or [1000]
    ranges = (
        LogRange(min(sizes) / _AROUND, max(sizes) * _AROUND),
        LogRange(min(errors) / _AROUND, max(errors) * _AROUND),
    )
    for reference in published:
        error = error_of(reference.best_test_accuracy)
        if not has_own or (ranges[0].within([measure.of(reference)]) and ranges[1].within([error])):
            sizes.append(measure.of(reference))
            errors.append(error)
    return FrontAxes(LogRange(0.85 * min(sizes), 1.15 * max(sizes)), LogRange(0.8 * min(errors), 1.2 * max(errors)))


def far_references(
    axes: FrontAxes, settings: StudySettings, measure: Measure | None = None
) -> list[tuple[Reference, str]]:
    """Return the published networks that lie outside the picture, and for each an arrow towards it."""
    measure, found = measure or counted(settings), []
    for reference in references(settings.dataset):
        x, y = axes.x(measure.of(reference)), axes.y(reference.best_test_accuracy)
        if arrow := _ARROWS[(y > 1) - (y < 0), (x > 1) - (x < 0)]:
            found.append((reference, arrow))
    return found


def error_of(accuracy: float) -> float:
    """Return the error in points, at least `LEAST_ERROR`, of an accuracy in percent."""
    return round(max(100 - accuracy, LEAST_ERROR), 3)


def size_ticks(shown: LogRange) -> list[int]:
    """Return where an axis of parameters is labeled, also outside `shown`; more closely where that spans little."""
    digits = _FINE_SIZE_DIGITS if shown.decades <= 1 else _SIZE_DIGITS
    return [digit * 10**exponent for exponent in range(10) for digit in digits]


def error_ticks(shown: LogRange) -> list[float]:
    """Return where an axis of errors is labeled, also outside `shown`; more closely where that spans little."""
    return list(_ERRORS if shown.decades <= 1.4 else _COARSE_ERRORS)
