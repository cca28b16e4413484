"""The report: one HTML page that opens offline, with figures, tables and all that it takes to run the study again.

Nothing that comes from a study (names, genes, reasons, spaces) is markup here: every text goes through `escape`, and
what the script shows it shows as text. The page's own content security policy refuses any request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from math import sqrt

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from nas.arch import Architecture, layer_rows, lower
from nas.report.front_plotly import curves_figure, front_figure
from nas.report.gene_effects import MIN_TRIALS, gene_effects
from nas.report.markup import Markup, bar, duration, json_script, note, plot, row, section, short, table
from nas.report.network_drawing import architecture_svg
from nas.report.training_sections import curves_section, ledger_section
from nas.study.answer import answer_text
from nas.study.folder import StudyDocument
from nas.study.front import front_records
from nas.study.landmarks import Reference
from nas.study.ledger import seconds_by_fate
from nas.study.records import TrialRecord
from nas.study.settings import StudySettings
from nas.study.tables import test_set_note, trials_table

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_NARROW = 350  # pixels of a drawing that fits a phone or a card
_MOST_GENES = 16  # rows of the table of genes


@dataclass(frozen=True)
class StudyFacts:
    """What a report says of a study besides its trials."""

    name: str
    document: StudyDocument
    space_text: str  # the frozen space, TOML
    command: str  # the line that runs the study again
    written: str  # when, for people
    versions: Mapping[str, str] = field(default_factory=dict)  # of the software that wrote the report

    @property
    def settings(self) -> StudySettings:
        """What the study was asked for."""
        return self.document.settings


def report_html(
    facts: StudyFacts,
    records: Sequence[TrialRecord],
    landmarks: Sequence[Reference],
    architectures: Mapping[int, Architecture],
    best: int | None,
    rungs: Sequence[int] = (),
) -> str:
    """The page.

    `architectures` holds those that could be made again, by trial: what has one is named where one hovers, and drawn
    on its card where it is on the front or confirmed. `best` is the trial that answers the study, and `rungs` are the
    epochs after which trials are compared.
    """
    front = front_records(records)
    outlines = {r.number: r.network for r in records if r.network}
    by_number = {r.number: r for r in records}
    chosen = by_number.get(best) if best is not None else None
    drawn = {r.number for r in [*front, *(r for r in records if r.confirmed)]} & architectures.keys()
    figure = front_figure(records, facts.settings.max_params, facts.settings.target, landmarks, outlines)
    curves = curves_figure(records, (r.number for r in front))
    sections = [
        _front_section(facts, front, landmarks),
        _best_section(chosen, architectures.get(best) if best is not None else None),
        curves_section(records, rungs),
        _genes_section(records),
        ledger_section(records, front, chosen),
        _test_section(facts, records),
        _again_section(facts),
    ]
    trials = json.loads(trials_table(records).to_json(orient="split", index=False)) if records else {}
    data = {"columns": [], "data": [], **trials, "outlines": outlines, "shown": best}
    style, script = (files("nas.report").joinpath(f"report.{suffix}").read_text("utf-8") for suffix in ("css", "js"))
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            # An icon of its own, since a browser would ask for one.
            f'<link rel="icon" href="data:,">\n<title>{escape(facts.name)}: nas report</title>',
            f"<style>\n{style}</style>\n</head>\n<body>",
            _header(facts, records, chosen),
            "<main>",
            *sections,
            f"</main>\n<footer>Written by nas on {escape(facts.written)}.</footer>",
            *(f'<template id="drawing-{n}">{architecture_svg(architectures[n], _NARROW)}</template>'
              for n in sorted(drawn)),
            json_script("trials", json.dumps(data, separators=(",", ":"))),
            _figure_script("front-plot", figure),
            _figure_script("curves-plot", curves),
            # After all that can be read without it.
            f"<script>{get_plotlyjs()}</script>\n<script>\n{script}</script>\n</body>\n</html>\n",
        ]
    )  # fmt: skip


def _figure_script(name: str, figure: go.Figure) -> str:
    return json_script(f"{name}-figure", figure.to_json())


def _header(facts: StudyFacts, records: Sequence[TrialRecord], best: TrialRecord | None) -> str:
    limits = [f"at most {facts.settings.max_params:,} parameters"]
    limits += [f"{facts.settings.max_macs:,} multiply-accumulates"] if facts.settings.max_macs is not None else []
    limits += (
        [f"{facts.settings.max_activation_bytes:,} bytes of activations"]
        if facts.settings.max_activation_bytes is not None
        else []
    )
    limits += [f"target {facts.settings.target:g} %"] if facts.settings.target is not None else []
    tiles: list[tuple[str, str]] = []
    if best is not None:
        tiles.append(("parameters", f"{best.num_params:,}"))
        if figure := best.confirmed:
            seeds = f"{figure.num_seeds} seed{'s' * (figure.num_seeds > 1)}"
            tiles.append((f"% of the test set, {seeds}", f"{figure.mean:.2f} <small>± {figure.spread:.2f}</small>"))
        elif best.validation_curve:
            tiles.append(("% in validation, not confirmed", f"{best.validation_accuracy:.2f}"))
        tiles.append(("multiply-accumulates an image", short(best.num_macs)))
    finished = sum(r.fate in ("completed", "stopped", "failed") for r in records)
    tiles.append(("trials", f"{finished:,}"))
    tiles.append(("of training", escape(duration(sum(seconds_by_fate(records).values())))))
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles)
    return (
        f"<header>\n<h1>{escape(facts.name)} · {escape(facts.settings.dataset)}, {', '.join(limits)}</h1>\n"
        f'<p class="answer">{escape(answer_text(records, facts.settings))}</p>\n'
        f'<dl class="tiles">{cells}</dl>\n</header>'
    )


def _front_section(facts: StudyFacts, front: Sequence[TrialRecord], landmarks: Sequence[Reference]) -> str:
    heads = ["parameters", "test, %", "seeds", "validation, %", "best epoch, %", "multiply-accumulates", "trial"]
    if facts.settings.target is not None:
        heads.insert(3, "every epoch")
    rows = [_front_row(facts, record) for record in front]
    rows += [
        row(f"{m.num_params:,}", [*[""] * (len(heads) - 4), f"{m.best_test_accuracy:.2f}", "", m.name],
            ' class="reference"')
        for m in landmarks
    ]  # fmt: skip
    every = (
        f" 'Every epoch' says whether each of the last 3 epochs of each seed reached {facts.settings.target:g} %."
        if facts.settings.target is not None
        else ""
    )
    references = " Reference networks (gray) are as published: the best epoch of one run." if landmarks else ""
    figure = plot("front-plot", "Scatter plot of parameters against accuracy. The table below it holds the front.")
    return section(
        "front",
        "The front",
        note(
            "Each point is a network. Bars are plus and minus one standard deviation over the seeds. The scale of "
            "accuracy is that of the error, so that high figures stand apart. Hover to see a network, click to open "
            "its card; a double click shows what lies outside."
        ),
        f'<div class="front"><div>{figure}</div><div class="card" id="card" tabindex="-1" aria-live="polite">'
        "<p>Choose a network in the figure or in the table.</p></div></div>",
        table(f"What no other trial beats in both size and accuracy.{every}{references}", heads, rows, "wide")
        if rows
        else note("No trial has completed yet."),
    )


def _front_row(facts: StudyFacts, record: TrialRecord) -> str:
    figure = record.confirmed
    cells = ["not confirmed", ""]
    if figure is not None:
        cells = [f"{figure.mean:.2f} ± {figure.spread:.2f}", str(figure.num_seeds)]
    if facts.settings.target is not None:
        consistent = figure is not None and figure.consistent(facts.settings.target)
        cells.append(Markup('<td class="met">yes</td>') if consistent else "no" if figure else "")
    cells += [
        f"{record.validation_accuracy:.2f}" if record.validation_curve else "",
        f"{figure.best_epoch:.2f}" if figure else "",
        f"{record.num_macs:,}",
        Markup(f'<td><button type="button" class="link" data-trial="{record.number}">{record.number}</button></td>'),
    ]
    return row(f"{record.num_params:,}", cells, f' data-trial="{record.number}"')


def _best_section(best: TrialRecord | None, architecture: Architecture | None) -> str:
    if best is None:
        return section("network", "The network", note("No trial has completed yet."))
    title = f"The network: trial {best.number}"
    if architecture is None:
        why = "Its network is not kept in this study's folder, and so cannot be drawn."
        return section("network", title, note(why))
    layers = lower(architecture)
    rows = []
    for layer in layer_rows(layers):
        count = f"as {layer['shared_with']}" if "shared_with" in layer else f"{layer['num_params']:,}"
        shape = " × ".join(map(str, layer["output_shape"]))
        rows.append(row(layer["name"], [shape, count, f"{layer['num_macs']:,}", ", ".join(layer.get("then", []))]))
    foot = (
        f'<tr><th scope="row" class="left">total</th><td></td><td>{best.num_params:,}</td><td>{best.num_macs:,}</td>'
        "<td></td></tr>"
    )
    genes = [row(name, [_value(value)]) for name, value in sorted(best.genes.items())]
    heads = ["layer", "output", "parameters", "multiply-accumulates", "then"]
    return section(
        "network",
        title,
        note(
            "Boxes are to scale: their length is the channels, their height and depth the map. Below each: what it "
            "is, its channels and map, and its parameters; a curved line is a shortcut around it."
        ),
        f'<div class="drawing"><div class="broad">{architecture_svg(architecture)}</div>'
        f'<div class="narrow">{architecture_svg(architecture, _NARROW)}</div></div>',
        table("Its layers, for one image", heads, rows, "dense", foot),
        "<details><summary>Its genes, recipe included</summary>",
        table("What the search chose", ["gene", "value"], genes, "dense"),
        "</details>",
    )


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _genes_section(records: Sequence[TrialRecord]) -> str:
    title, effects = "Which genes mattered", gene_effects(records)
    completed = sum(r.fate == "completed" for r in records)
    if not effects:
        why = f"{completed} trials have completed; below {MIN_TRIALS}, chance explains as much as any gene."
        return section("genes", title, note(why if completed < MIN_TRIALS else "No gene took more than one value."))
    rows = [
        row(
            e.name,
            [bar(e.share), f"{100 * e.share:.0f} %", e.best, f"{e.num_trials:,}"],
            "" if e.clear else ' class="faint"',
        )
        for e in effects[:_MOST_GENES]
    ]
    rest = len(effects) - len(rows)
    more = f" {rest} more with less are left out." if rest > 0 else ""
    return section(
        "genes",
        title,
        note(
            "How much of the order of the completed trials, by validation accuracy, each gene explains by itself, less "
            "what chance explains on average. Dashed bars are not clear of chance. The search chose the values and "
            f"stopped weak trials, so genes that changed together share the credit: this proves no cause.{more}"
        ),
        table("Genes by what they explain", ["gene", "", "explains", "ranks best", "trials"], rows, "wide"),
    )


def _test_section(facts: StudyFacts, records: Sequence[TrialRecord]) -> str:
    text = (
        "The test set took no part in sampling, early stopping or choosing. Candidates were chosen by their accuracy "
        "on images held out from the training set; a chosen one was trained again on the whole training set with "
        "fresh seeds. Its figure is the mean over seeds of the mean of the last 3 epochs. A best epoch is shown "
        "because the literature reports it, and decides nothing."
    )
    confirmed = [r.confirmed.mean for r in records if r.confirmed]
    errors = []
    images = facts.document.images
    if images and confirmed:
        errors.append(_standard_error("test", images.num_test, max(confirmed)))
    if images and (curves := [r.validation_accuracy for r in records if r.fate == "completed"]):
        errors.append(_standard_error("validation", images.num_validation, max(curves)))
    return section(
        "test-set",
        "How far to trust the figures",
        f"<p><strong>{escape(test_set_note(records))}</strong></p>",
        f"<p>{escape(text)}</p>",
        f"<p>{escape(' '.join(errors))}</p>" if errors else "",
    )


def _standard_error(part: str, images: int, accuracy: float) -> str:
    share = min(max(accuracy / 100, 0.5 / images), 1 - 0.5 / images)
    points = 100 * sqrt(share * (1 - share) / images)
    return f"On {images:,} {part} images at {accuracy:.2f} %, a single run has a standard error of {points:.2f} points."


def _again_section(facts: StudyFacts) -> str:
    rows = [row("seed of the study", [str(facts.settings.seed)])]
    fingerprints = facts.document.fingerprints
    rows += [row("digest of the space", [fingerprints.space]), row("digest of the data", [fingerprints.data])]
    rows += [row(name, [version]) for name, version in facts.versions.items()]
    return section(
        "again",
        "Run it again",
        f'<pre class="command" tabindex="0">{escape(facts.command)}</pre>',
        note(
            "With several workers, trials end in an order of their own and the search takes another way. The figure of "
            "one network can be checked by itself: nas confirm trains it again, nas export and nas verify take it away."
        ),
        table("What it ran on; versions are those that wrote this page", ["", ""], rows),
        f"<details><summary>The space: {escape(facts.settings.space)}</summary>"
        f'<pre tabindex="0">{escape(facts.space_text)}</pre></details>',
    )
