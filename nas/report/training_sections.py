"""The sections of the report on how the trials went: their curves, early stopping, and what the search spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nas.report.markup import bar, duration, note, plot, row, section, table
from nas.report.rank_correlation import rank_correlations
from nas.study.ledger import candidates, fates, seconds_by_fate, warm_started
from nas.study.records import TrialRecord, test_readings

_FATES = {
    "confirmed": "confirmations",
    "completed": "trained to the end",
    "stopped": "stopped early",
    "failed": "failed",
    "duplicate": "the same network and recipe as another trial",
    "interrupted": "interrupted",
    "running": "running when this was written",
}


def curves_section(records: Sequence[TrialRecord], rungs: Sequence[int]) -> str:
    """Learning curves, where trials were stopped, and what the epochs at which they were compared tell."""
    stopped = [r for r in records if r.fate == "stopped"]
    lengths = [len(r.validation_curve) for r in records if r.fate == "completed"]
    if not stopped and not lengths:
        return section("curves", "Learning curves", note("No trial has been trained yet."))
    text, where = "No trial was stopped early.", ""
    if stopped:
        started = len(stopped) + len(lengths)
        text = f"{len(stopped)} of {started} trials were stopped early, as none was likely to beat all of its size."
        if lengths:
            trained, whole = sum(len(r.validation_curve) for r in stopped), max(lengths) * len(stopped)
            text += f" They took {trained:,} epochs in place of up to {whole:,}."
        stops = sorted(Counter(len(r.validation_curve) for r in stopped).items())
        rows = []
        for epoch, count in stops:
            there = [r.validation_curve[-1] for r in stopped if len(r.validation_curve) == epoch]
            reached = sum(length >= epoch for length in [*lengths, *(len(r.validation_curve) for r in stopped)])
            best = f"{max(there):.2f}" if epoch else ""
            rows.append(row(str(epoch), [f"{count:,}", f"{reached:,}", best]))
        heads = ["epoch", "stopped", "of those that got there", "best of the stopped, %"]
        where = table("Where trials were stopped", heads, rows)
    figure = plot("curves-plot", "Line plot of validation accuracy by epoch, one line a trial.", low=True)
    return section("curves", "Learning curves", note(text), figure, where, _rungs_table(records, rungs))


def _rungs_table(records: Sequence[TrialRecord], rungs: Sequence[int]) -> str:
    correlations = rank_correlations(records, rungs)
    if not correlations:
        return ""
    rows = [row(str(c.epoch), [f"{c.spearman:.2f}", f"{c.trials:,}"]) for c in correlations]
    return table(
        "How far the order at an epoch is that of the end (1: wholly, 0: not at all); it sees only trials that were "
        "not stopped",
        ["epoch", "rank correlation (Spearman)", "trials"],
        rows,
    )


def ledger_section(records: Sequence[TrialRecord], front: Sequence[TrialRecord], best: TrialRecord | None) -> str:
    """Time by fate, what it took to propose the trials, and what a warm start gave."""
    seconds, counts = seconds_by_fate(records), dict(fates(records))
    counts["confirmed"] = sum(len(r.confirmations) for r in records)
    total = sum(seconds.values())
    rows = []
    for fate, label in _FATES.items():
        if counts.get(fate):
            spent = seconds.get(fate, 0.0)
            share = spent / total if total else 0.0
            rows.append(row(label, [f"{counts[fate]:,}", bar(share), f"{100 * share:.0f} %", duration(spent)]))
    foot = f'<tr><th scope="row" class="left">in all</th><td></td><td></td><td></td><td>{duration(total)}</td></tr>'
    heads = ["", "trainings", "", "share", "time"]
    reasons = Counter(r.reason for r in records if r.fate == "failed")
    failed = [row(reason or "unknown", [f"{count:,}"]) for reason, count in reasons.most_common()]
    return section(
        "ledger",
        "Where the training time went",
        table("Time of all workers together", heads, rows, "wide", foot) if rows else note("No trial has ended yet."),
        table("Why trials failed", ["reason", "trials"], failed) if failed else "",
        _candidates_table(records) if records else "",
        note(f"Warm start: {known}.") if (known := warm_started(records, front, best)) else "",
    )


def _candidates_table(records: Sequence[TrialRecord]) -> str:
    drawn = candidates(records)
    counts = {
        "draws that exceeded the budget": drawn.over_budget,
        "draws that were thrown away, as they missed the size aimed at": drawn.redrawn,
        "networks whose widths were changed to fit": drawn.repaired,
        "networks passed over, as they had been tried before": drawn.repeated,
        "trials that took the result of another with the same network and recipe": drawn.duplicates,
        "trainings after which the test set was read": test_readings(list(records)),
    }
    rows = [row(what, [f"{count:,}"]) for what, count in counts.items()]
    return table("What it took to propose and to judge the candidates", ["", "in all"], rows)
