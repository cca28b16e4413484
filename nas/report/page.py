"""The report: one HTML page that opens offline, with figures, tables and all that it takes to run the study again.

The markup is in `templates`, which escape every value. Only what is made here goes in as it is: drawings, the style,
the scripts, and JSON without a '<'. The page's content security policy refuses any request, and its own script shows
what comes from a study as text.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from nas.arch import Architecture, explain_outlines, lower
from nas.costs import costs_of, layer_rows
from nas.host import versions
from nas.report import page_values
from nas.report.axes import FLASH
from nas.report.curves_plotly import curves_figure, losses_figure
from nas.report.document import rungs_reached
from nas.report.front_plotly import front_figure
from nas.report.gene_effects import MIN_TRIALS, gene_effects
from nas.report.genes_plotly import genes_figure
from nas.report.network_drawing import architecture_svg
from nas.report.progress_plotly import progress_figure
from nas.report.rank_correlation import rank_correlations
from nas.study.answer import answer_text, best_record
from nas.study.duration import format_duration
from nas.study.folder import StudyDocument
from nas.study.front import front_records
from nas.study.landmarks import references
from nas.study.ledger import fates, num_finished, seconds_by_fate, warm_started
from nas.study.mistakes import Mistakes
from nas.study.records import LAST_EPOCHS, TrialRecord, last_epochs_text
from nas.study.tables import test_set_note, trials_table
from nas.train.epoch import MOST_TRAIN_IMAGES

_NARROW = 350  # pixels of a drawing that fits a phone or a card
_MOST_GENES = 16  # rows of the table of genes
_MOST_CLASSES = 30  # of a confusion matrix that is shown whole
_MOST_PAIRS = 20  # of classes that are confused, where it is not


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What a report says of a study besides its trials and networks."""

    name: str
    document: StudyDocument
    space_text: str  # the frozen space, TOML
    command: str  # the line that runs the study again; empty where only its results are kept


def report_html(
    facts: StudyFacts,
    records: Sequence[TrialRecord],
    architectures: Mapping[int, Architecture],
    mistakes: Mistakes | None = None,
) -> str:
    """Return the page.

    Args:
        facts: the study.
        records: every trial.
        architectures: those that are kept, by the number of the trial. One is drawn on the card of its trial, and in
            full where the trial answers the study.
        mistakes: of the network that answers the study, where they are known.
    """
    settings = facts.document.settings
    front, best = front_records(records), best_record(records, settings)
    architecture = architectures.get(best.number) if best else None
    layers = lower(architecture) if architecture else []
    shown = {r.number for r in front} | {r.number for r in records if r.confirmed}
    drawings = {n: Markup(architecture_svg(architectures[n], _NARROW)) for n in sorted(shown & architectures.keys())}
    effects = gene_effects(records)
    page = _environment().get_template("report.html.j2")
    return page.render(
        facts=facts,
        settings=settings,
        images=facts.document.images,
        answer=answer_text(records, settings),
        best=best,
        costs=costs_of(layers) if layers else None,
        last_epochs=last_epochs_text(max((r.num_epochs for r in records), default=LAST_EPOCHS)),
        records=records,
        num_finished=num_finished(fates(records)),
        num_completed=sum(r.fate == "completed" for r in records),
        train_seconds=sum(seconds_by_fate(records).values()),
        front=front,
        references=references(settings.dataset),
        drawings=drawings,
        broad_drawing=Markup(architecture_svg(architecture)) if architecture else None,
        layers=layer_rows(layers),
        marks=explain_outlines([r.network for r in records if r.network]),
        mistakes=mistakes,
        images_judged=sum(map(sum, mistakes.confusion)) if mistakes else 0,
        most_classes=_MOST_CLASSES,
        most_pairs=_MOST_PAIRS,
        stops=page_values.early_stopping(records),
        correlations=rank_correlations(records, rungs_reached(records)),
        effects=effects[:_MOST_GENES],
        num_effects=len(effects),
        min_trials=MIN_TRIALS,
        spending=page_values.spending(records),
        failures=page_values.failures(records),
        draws=page_values.draws(records),
        warm_start=warm_started(records, front, best),
        test_set_note=test_set_note(records),
        errors=page_values.standard_errors(records, facts.document.images),
        versions={"python": platform.python_version(), **versions("torch", "optuna")},
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
        style=_own_file("report.css"),
        script=_own_file("report.js"),
        plotly=Markup(get_plotlyjs()),
        trials_json=_script_json(_trials_json(records, best)),
        knows_device=FLASH.is_known(records),
        front_json=_script_json(front_figure(records, settings).to_json()),
        genes_json=_script_json(genes_figure(records, effects).to_json()) if effects else "",
        has_curves=any(r.validation_curve for r in records),
        progress_json=_script_json(progress_figure(records, settings).to_json()),
        losses_json=_script_json(losses_figure(best).to_json()) if best and _has_losses(best) else "",
        gap=page_values.gap(best) if best else None,
        most_train_images=MOST_TRAIN_IMAGES,
        curves_json=_script_json(curves_figure(records).to_json()),
    )


def _has_losses(record: TrialRecord) -> bool:
    return any(confirmation.train_loss for confirmation in record.confirmations)


@cache
def _environment() -> Environment:
    """Return what reads the templates: values are escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=PackageLoader("nas.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "count": "{:,}".format,
        "points": "{:.2f}".format,
        "short": page_values.short,
        "duration": format_duration,
        "gene_value": page_values.gene_value,
        "limit": "{:g}".format,
    }
    return environment


def _own_file(name: str) -> Markup:
    return Markup(files("nas.report").joinpath(name).read_text("utf-8"))


def _script_json(text: str) -> Markup:
    """Return JSON that can be put into a script element: with no '<' in it, no text can end the element."""
    return Markup(text.replace("<", "\\u003c"))


def _trials_json(records: Sequence[TrialRecord], best: TrialRecord | None) -> str:
    """Return what the page's script shows on the card of a trial."""
    table: dict[str, Any] = {"columns": [], "data": []}
    if records:
        table = json.loads(trials_table(records).to_json(orient="split", index=False))
    outlines = {r.number: r.network for r in records if r.network}
    return json.dumps({**table, "outlines": outlines, "shown": best.number if best else None}, separators=(",", ":"))
