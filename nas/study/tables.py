"""What a study found, as tables and text: the front, every trial, and what the test set was used for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from nas.study.comparison import ComparedNetwork
from nas.study.front import front_records
from nas.study.landmarks import Reference
from nas.study.records import SIZES, TrialRecord, round_percent, test_readings

if TYPE_CHECKING:
    import pandas as pd  # a quarter of a second, which `nas status` can spare


def front_rows(records: Sequence[TrialRecord], target: float | None = None) -> list[dict[str, Any]]:
    """Return the front, a network each, ready for JSON, in percent; test figures are None without a confirmation."""
    return [_front_row(r, target) for r in front_records(records)]


def front_table(records: Sequence[TrialRecord], target: float | None = None) -> pd.DataFrame:
    """Return the rows of `front_rows`."""
    import pandas as pd

    return _whole(pd.DataFrame(front_rows(records, target), columns=list(_COLUMNS)))


_COLUMNS = (
    "trial",
    *SIZES,
    "validation_accuracy",
    "test_accuracy",
    "test_spread",
    "seeds",
    "consistent",
    "best_epoch",
    "weights_test_accuracy",
    "digest",
)


def _front_row(record: TrialRecord, target: float | None) -> dict[str, Any]:
    figure = record.confirmed
    return {
        "trial": record.number,
        **record.sizes,
        "validation_accuracy": round_percent(record.validation_accuracy),
        **record.test_figures,
        "consistent": figure.consistent(target) if figure and target is not None else None,
        "best_epoch": round_percent(figure.best_epoch) if figure else None,
        "weights_test_accuracy": round_percent(figure.weights_accuracy) if figure else None,
        "digest": record.digest,
    }


def front_text(records: Sequence[TrialRecord], target: float | None, landmarks: Sequence[Reference]) -> str:
    """Return the front as a text table of 80 columns, the reference networks below it."""
    lines = [
        f"{'parameters':>10}  {'deployed':>8}  {'test %':>13}  {'seeds':>5}  {'consistent':>10}  {'val %':>5}  "
        f"{'best epoch':>10}  trial"
    ]
    for record in front_records(records):
        figure = record.confirmed
        test = "not confirmed" if figure is None else f"{figure.mean:.2f}{figure.spread_text}"
        every = {True: "yes", False: "no", None: ""}[
            figure.consistent(target) if figure and target is not None else None
        ]
        best = f"{figure.best_epoch:.2f}" if figure and figure.best_epoch is not None else ""
        seeds = str(figure.num_seeds) if figure else ""
        lines.append(
            f"{record.num_params:>10,}  {count_text(record.deployed_params):>8}  {test:>13}  {seeds:>5}  {every:>10}  "
            f"{record.validation_accuracy:>5.2f}  {best:>10}  {record.number:>5}"
        )
    if landmarks:
        lines.append("reference networks, as published (best epoch, one run):")
        counts = [f"{r.num_params:>10,}  {r.deployed_params:>8,}" for r in landmarks]
        lines += [f"{c}  {r.name:>13}  {r.best_test_accuracy:>36.2f}" for c, r in zip(counts, landmarks, strict=True)]
    return "\n".join(lines)


def test_set_note(records: Sequence[TrialRecord]) -> str:
    """Return how often the test set was read, and what choosing among those readings does to the best figure."""
    confirmed = [r.confirmed for r in records if r.confirmed]
    readings = test_readings(list(records))
    if not readings:
        return "The test set was not read."
    text = f"The test set was read after {_counted(readings, 'training')} of {_counted(len(confirmed), 'network')}"
    spreads = [f.spread for f in confirmed if f.spread is not None]
    if not spreads:
        return (
            f"{text}. With one seed each, how far two runs differ by luck is not known; on 10,000 images at 99.4 % it "
            f"is about 0.15 points."
        )
    spread = sum(spreads) / len(spreads)
    if len(confirmed) > 1:
        # The expected largest of n normal draws (Blom 1958), for n networks that differ by the seeds' noise alone.
        largest = NormalDist().inv_cdf((len(confirmed) - 0.375) / (len(confirmed) + 0.25))
        seeds = max(f.num_seeds for f in confirmed)
        flattery = largest * spread / seeds**0.5
        text += f"; the best of {len(confirmed)} flatters itself by up to about {flattery:.2f} points"
    # Twice the standard deviation of a difference of two.
    noise = 2 * 2**0.5 * spread
    return f"{text}. Going by the seeds, a difference below about {noise:.2f} points between two single runs is noise."


def count_text(count: int | None) -> str:
    """Return a count for people; nothing where it is not known."""
    return "" if count is None else f"{count:,}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return every trial, a row each, with its genes as columns. Accuracies in percent, times in seconds."""
    import pandas as pd

    table = pd.DataFrame(
        [
            {
                "trial": r.number,
                "fate": r.fate,
                "origin": r.origin,
                **r.sizes,
                "epochs": r.num_epochs,
                "validation_accuracy": round_percent(r.validation_accuracy) if r.num_epochs else None,
                **r.test_figures,
                "train_seconds": r.train_seconds,
                "digest": r.digest,
                "reason": r.reason,
                **r.genes,
            }
            for r in records
        ]
    )
    return _whole(table)


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Return `table` with whole numbers where some are not known: pandas would make them floats."""
    return table.astype({name: "Int64" for name in ("deployed_params", "flash_bytes", "ram_bytes") if name in table})


def studies_text(rows: Sequence[dict[str, Any]]) -> str:
    """Several studies as a text table: `rows` of `nas.report.document.summary_row`."""
    width = max(5, *(len(row["study"]) for row in rows))
    data = max(8, *(len(_data_name(row)) for row in rows))
    lines = [f"{'study':<{width}}  {'data set':<{data}}  {'budget':>10}  {'target':>6}  {'trials':>6}  answer"]
    for row in rows:
        target = "" if row["target"] is None else f"{row['target']:g}"
        lines.append(
            f"{row['study']:<{width}}  {_data_name(row):<{data}}  {row['max_params']:>10,}  {target:>6}  "
            f"{row['trials']:>6}  {_short_answer(row)}"
        )
    return "\n".join(lines)


def _data_name(row: dict[str, Any]) -> str:
    return Path(row["dataset"]).name


def _short_answer(row: dict[str, Any]) -> str:
    if row["num_params"] is None:
        return "none yet"
    text = f"{row['num_params']:,} parameters"
    if row["deployed_params"] is not None:
        text += f" ({row['deployed_params']:,} deployed)"
    if row["test_accuracy"] is None:
        return f"{text}, {row['validation_accuracy']:.2f} % in validation"
    met = {True: ", target met", False: ", target not met", None: ""}[row["target_confirmed"]]
    return f"{text}, {row['test_accuracy']:.2f} % on the test set{met}"


def comparison_text(rows: Sequence[ComparedNetwork]) -> str:
    """Return the fronts of several studies as a text table, by size; a star marks what none of them beats."""
    width = max(5, *(len(row.study) for row in rows)) if rows else 5
    sizes = f"{'parameters':>10}  {'deployed':>8}"
    lines = [f"  {sizes}  {'test %':>15}  {'seeds':>5}  {'validation %':>12}  {'study':<{width}}  trial"]
    for row in rows:
        spread = "" if row.test_spread is None else f" ± {row.test_spread:.2f}"
        test = "not confirmed" if row.test_accuracy is None else f"{row.test_accuracy:.2f}{spread}"
        lines.append(
            f"{'*' if row.is_on_common_front else ' '} {row.num_params:>10,}  {count_text(row.deployed_params):>8}  "
            f"{test:>15}  {row.seeds or '':>5}  {row.validation_accuracy:>12.2f}  {row.study:<{width}}  {row.trial:>5}"
        )
    return "\n".join([*lines, "* no confirmed network of these studies is both as small and as accurate"])


def curves_table(record: TrialRecord) -> pd.DataFrame:
    """Return a row for each epoch of a trial and of its confirmation's seeds: part, seed, epoch, accuracy in percent.

    The part 'train' has a row for each seed whose accuracy on training images is known, that of its last epoch.
    """
    import pandas as pd

    rows = [("validation", record.seed, epoch, a) for epoch, a in enumerate(record.validation_curve, 1)]
    for c in record.confirmations:
        rows += [("train", c.seed, len(c.test_accuracy), c.train_accuracy)] if c.train_accuracy is not None else []
    for confirmation in record.confirmations:
        rows += [("test", confirmation.seed, epoch, a) for epoch, a in enumerate(confirmation.test_accuracy, 1)]
    return pd.DataFrame(rows, columns=["part", "seed", "epoch", "accuracy"])
