"""`nas compare`: the fronts of several studies of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.app.look import open_folder
from nas.errors import StudyError, UsageError
from nas.report.comparison_plotly import comparison_figure
from nas.storage.study_store import read_records
from nas.study.comparison import ComparedNetwork, ComparedStudy, compare_networks, with_one_count
from nas.study.folder import StudyFolder


@dataclass(frozen=True, slots=True)
class Comparison:
    """Studies of the same images, and the networks of their fronts."""

    studies: list[ComparedStudy]
    rows: list[ComparedNetwork]


def compare(studies: Path, names: Sequence[str]) -> Comparison:
    """Return what the studies `names` have found.

    Raises:
        StudyError: one of them does not exist, or is of other images than the first.
        UsageError: fewer than two are named.
    """
    if len(set(names)) < 2:
        raise UsageError(f"{len(set(names))} study is named, and a comparison takes two at least")
    folders = [open_folder(studies, name) for name in dict.fromkeys(names)]
    for folder in folders[1:]:
        _require_same_images(folders[0], folder)
    found = with_one_count([ComparedStudy(f.name, f.settings(), read_records(f)) for f in folders])
    return Comparison(found, compare_networks(found))


def _require_same_images(one: StudyFolder, other: StudyFolder) -> None:
    if one.document().fingerprints.data != other.document().fingerprints.data:
        raise StudyError(
            f"{one.name!r} is of {one.settings().dataset} and {other.name!r} of {other.settings().dataset}, and not "
            f"of the same images: their accuracies cannot be compared"
        )


def write_figure(comparison: Comparison, output: Path) -> None:
    """Write the fronts, laid over each other, as a page that opens offline.

    Raises:
        UsageError: the name does not end in .html.
        StudyError: the file cannot be written.
    """
    if output.suffix != ".html":
        raise UsageError(f"`output` {str(output)!r} does not end in .html, the one format of the figure")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        comparison_figure(comparison.studies).write_html(output, include_plotlyjs=True)
    except OSError as error:
        raise StudyError(f"cannot write {output}: {error.strerror}; choose another `output`") from None
