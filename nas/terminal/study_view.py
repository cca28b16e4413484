"""What a study has found, on a terminal: the front as a table and as a plot, and the network that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from nas.arch import lower, outline, sketch
from nas.study.landmarks import references
from nas.study.records import TrialRecord
from nas.study.tables import front_text
from nas.terminal.front_plot import ASCII, UNICODE, front_plot

if TYPE_CHECKING:
    from nas.study.folder import StudyFolder
    from nas.study.settings import StudySettings

_COLORS = {"confirmed": "blue", "reference": "yellow", "budget": "red", "target": "red"}  # of a plot's marks


def print_front(records: list[TrialRecord], settings: StudySettings) -> None:
    """The front as a table and, once there is one, as a plot; in color on a terminal that has it."""
    landmarks = references(settings.dataset)
    print(f"\n{front_text(records, settings.target, landmarks)}\n")
    console = Console()
    marks = ASCII if _is_simple(console) else UNICODE
    if plot := front_plot(records, settings.max_params, settings.target, landmarks, marks):
        text = Text(plot)
        for name, color in _COLORS.items():
            text.highlight_words([getattr(marks, name)], color)
        console.print(text, soft_wrap=True)
        print()


def print_network(folder: StudyFolder, best: TrialRecord) -> None:
    """The network that answers the study, drawn, where it is kept."""
    from nas.study.networks import kept_network

    if network := kept_network(folder, best):
        drawing = sketch(lower(network.architecture))
        drawing = drawing.replace("▇", "#") if _is_simple(Console()) else drawing
        print(f"trial {best.number}: {outline(network.architecture)}\n\n{drawing}\n")


def _is_simple(console: Console) -> bool:
    """Whether it is called dumb, or knows no Unicode: such a terminal gets letters."""
    return console.is_dumb_terminal or not (console.encoding or "").lower().startswith("utf")
