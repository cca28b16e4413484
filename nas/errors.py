"""Every error that a user can meet has one base, `NasError`, and says what, the value, the bound and the next step."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class NasError(Exception):
    """A clear error for the user; the command prints its text, without a traceback, and exits with `exit_code`."""

    exit_code = 1


class UsageError(NasError):
    """An option has a value that cannot be used."""

    exit_code = 2


class InvalidError(NasError):
    """A description (file or value) is invalid. Carries every problem that was found, each with its key path."""

    def __init__(self, what: str, problems: Iterable[str]) -> None:
        self.what = what
        self.problems = tuple(problems)
        if len(self.problems) == 1:
            text = f"{what}: {self.problems[0]}"
        else:
            text = f"{what} has {len(self.problems)} problems:\n" + "\n".join(f"  {p}" for p in self.problems)
        super().__init__(text)


class ArchitectureError(InvalidError):
    """An architecture that cannot be built: its maps shrink to nothing, or its parts do not fit together."""


class SpaceError(NasError):
    """A search space that is unknown or does not contain what is asked of it."""


class BudgetError(NasError):
    """A budget that no network of the space can meet, or a network that exceeds its budget."""


class DataError(NasError):
    """A data set that is unknown, missing or damaged."""


class DeviceError(NasError):
    """A device that this machine does not have."""


class MachineError(NasError):
    """Something is wrong with this machine; it ends the search, and no trial is to blame."""


class StudyError(NasError):
    """A study that does not exist, conflicts with the request, or holds nothing to work with."""


class TrainingError(NasError):
    """A training that cannot go on, such as a loss that is not finite; ends the trial, never the study."""


class OutOfMemoryError(NasError):
    """A device with too little memory left for a training; alone on the device it may fit."""


class ExportError(NasError):
    """A network that cannot be written in, or read from, the format that is asked for, or a tool that this needs."""


class VerificationError(NasError):
    """An exported module that cannot be loaded or read."""


def describe(error: BaseException) -> str:
    """Return what an error says, after its kind if it is a foreign one: one line of at most 500 characters."""
    text = " ".join(str(error).split())
    text = text if isinstance(error, NasError) else f"{type(error).__name__}: {text}"
    return text if len(text) <= 500 else f"{text[:499]}…"


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, of at most 300 characters; its kind where it says nothing."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__


# What others call it: a name written without separators, and what it may be here.
_OTHER_NAMES = {
    "lr": ("learning_rate",),
    "wd": ("weight_decay",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "swish": ("silu",),
    "hswish": ("hardswish",),
    "linear": ("none",),
    "identity": ("none",),
    "depthwise": ("separable",),
    "depthwiseseparable": ("separable",),
    "dwconv": ("separable",),
    "mbconv": ("inverted",),
    "invertedresidual": ("inverted",),
    "bottleneck": ("inverted",),
    "expandratio": ("expansion",),
    "standard": ("plain",),
    "normal": ("plain",),
    "conv": ("block",),
    "conv2d": ("block",),
    "pointwise": ("transition",),
    "maxpool": ("pool", "max"),
    "avgpool": ("pool", "average"),
    "avg": ("average",),
    "mean": ("average",),
    "bn": ("batch", "norm"),
    "batchnorm": ("batch", "norm"),
    "filters": ("width",),
    "channels": ("width",),
    "kernelsize": ("kernel",),
    "onecyclelr": ("one_cycle",),
    "steplr": ("step",),
    "ema": ("averaging",),
    "fmnist": ("fashion_mnist",),
    "emnist": ("emnist_letters",),
}


def near_misses(name: str, known: Iterable[str]) -> str:
    """'did you mean …?' for a mistyped `name`, or the list of what is known; for the end of an error text.

    Of dotted names those of the same section are compared, by what follows the dot alone; where there is no such
    section, whole names are. Capitals and separators make no difference.
    """
    known = sorted(known)
    section, _, word = name.rpartition(".")
    if beside := [k for k in known if k.rpartition(".")[0] == section]:
        plain = {_plain(k.rpartition(".")[2]): k for k in beside}
    else:
        word, plain = name, {_plain(k): k for k in known}
    typed = _plain(word)
    wanted = [_plain(other) for other in _OTHER_NAMES.get(typed, ())]
    close = [plain[w] for w in (typed, *wanted) if w in plain][:1]
    close = close or [k for p, k in plain.items() if len(typed) >= 3 and typed in p]
    close = close or [plain[c] for c in difflib.get_close_matches(typed, plain, n=3, cutoff=0.65)]
    if close:
        return "did you mean " + " or ".join(repr(c) for c in close[:3]) + "?"
    return "known: " + ", ".join(beside or known)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
