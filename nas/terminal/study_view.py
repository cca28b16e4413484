"""What a study has found, on a terminal: the front as a table and as a plot, and the network that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from nas.arch import explain_outlines, lower, outline
from nas.costs import sketch
from nas.report import palette
from nas.study.answer import best_record
from nas.study.duration import format_duration
from nas.study.front import front_records
from nas.study.landmarks import references
from nas.study.ledger import count_draws, warm_started
from nas.study.networks import device_text
from nas.study.records import TrialRecord
from nas.study.tables import front_text
from nas.terminal.front_plot import ASCII, UNICODE, front_plot

if TYPE_CHECKING:
    from nas.model.trained_network import TrainedNetwork
    from nas.study.settings import StudySettings

_COLORS = {  # of a plot's marks; a terminal that has fewer colors shows the nearest
    "confirmed": palette.CONFIRMED,
    "reference": palette.REFERENCE,
    "budget": palette.LIMIT,
    "target": palette.LIMIT,
}


def print_study(
    records: list[TrialRecord], settings: StudySettings, document: dict[str, Any], network: TrainedNetwork | None
) -> None:
    """Print the front, the network that answers, what it took and the answer.

    `document` is the study's, with what the network takes of a microcontroller, as `nas.app.look.result_of` makes it.
    """
    best = best_record(records, settings)
    print_front(records, settings)
    if best is not None and network is not None:
        print_network(best, network)
    trials = ", ".join(f"{count} {fate}" for fate, count in document["trials"].items())
    spent = ", ".join(f"{fate} {format_duration(s)}" for fate, s in document["train_seconds"].items())
    print(f"trials: {trials or 'none'}")
    if spent:
        print(f"training time: {spent}")
    if drawn := count_draws(records):
        print(f"candidates: {drawn}")
    if known := warm_started(records, front_records(records), best):
        print(f"warm start: {known}")
    if network is not None:
        print(f"on a microcontroller, in 8 bits: {device_text(document, settings)}")
    print(f"{document['test_set']}\n\n{document['answer']}")


def print_front(records: list[TrialRecord], settings: StudySettings) -> None:
    """Print the front as a table and, once a trial has completed, as a plot; in color on a terminal that has it."""
    print(f"{front_text(records, settings.target, references(settings.dataset))}\n")
    console = Console()
    marks = ASCII if _is_simple(console) else UNICODE
    if plot := front_plot(records, settings, marks):
        text = Text(plot)
        for name, color in _COLORS.items():
            text.highlight_words([getattr(marks, name)], color)
        console.print(text, soft_wrap=True)
        print()


def print_network(best: TrialRecord, network: TrainedNetwork) -> None:
    """Print a drawing of the network of the trial that answers the study."""
    drawing = sketch(lower(network.architecture))
    drawing = drawing.replace("▇", "#") if _is_simple(Console()) else drawing
    line = outline(network.architecture)
    print(f"trial {best.number}: {line}\n({explain_outlines([line])})\n\n{drawing}\n")


def _is_simple(console: Console) -> bool:
    """Return whether the terminal is called dumb, or knows no Unicode: such a one gets letters."""
    return console.is_dumb_terminal or not (console.encoding or "").lower().startswith("utf")
