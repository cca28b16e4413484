"""The genes as parallel coordinates: where each trial's line runs."""

from __future__ import annotations

from dataclasses import replace

from made_up_studies import made_up_records

from nas.report.gene_effects import gene_effects
from nas.report.genes_plotly import MOST_GENES, genes_figure

RECORDS = made_up_records(200)


def test_every_completed_trial_has_a_line_through_all_axes() -> None:
    completed = sorted((r for r in RECORDS if r.fate == "completed"), key=lambda r: r.validation_accuracy)
    figure = genes_figure(RECORDS, gene_effects(RECORDS))
    names = [text.replace("<br>", ".") for text in figure.layout.xaxis.ticktext]
    assert (names[0], names[-1], len(names)) == ("parameters", "validation, %", MOST_GENES + 2)
    numbers = [n for trace in figure.data for n in trace.customdata[:: len(names) + 1]]
    assert numbers == [r.number for r in completed]  # from the least accurate quarter to the most accurate
    heights = [
        list(trace.y[at : at + len(names)]) for trace in figure.data for at in range(0, len(trace.y), len(names) + 1)
    ]
    assert all(0 <= height <= 1 for line in heights for height in line)
    assert [line[-1] for line in heights] == sorted(line[-1] for line in heights)
    assert (heights[0][-1], heights[-1][-1]) == (0, 1)
    kind = next(at for at, name in enumerate(names) if name.endswith("kind"))
    for record, line in zip(completed, heights, strict=True):
        assert line[kind] == {"plain": 0, "separable": 1}[record.genes[names[kind]]]
    labels = {(a.x, a.y): a.text for a in figure.layout.annotations}
    assert (labels[kind, 0.0], labels[kind, 1.0]) == ("plain", "separable")


def test_words_are_escaped_and_a_missing_gene_has_a_place() -> None:
    odd = [replace(r, genes={**r.genes, "stage1.block1.kind": "<b>" if r.number % 2 else None}) for r in RECORDS]
    effects = [e for e in gene_effects(RECORDS) if e.name == "stage1.block1.kind"]
    texts = [annotation.text for annotation in genes_figure(odd, effects).layout.annotations]
    assert "&lt;b&gt;" in texts
    assert "None" in texts
    assert "<b>" not in texts
