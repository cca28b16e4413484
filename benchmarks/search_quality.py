"""How good is the search, at equal training time? Replays searches over a table of learning curves, over many seeds.

    python benchmarks/search_quality.py --table digits --seeds 30

The measure is the hypervolume of the front of completed trials, as a share of that of the table's own front. Its axes
are the logarithm of the parameters, from the space's least network to the budget, and validation accuracy above a
reference (by default the median of the table): the mean over all sizes, on a log scale, of how far the best network of
at most that size is above the reference. Accuracy is what the search sees, the mean of the last 3 epochs of the one
training in the table. Proposing takes no simulated time (the real seconds of all proposals are printed beside it).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import date
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from curves import TABLES, Curve, Table, read_table
from replay import METHODS, Trained, replay, typical_seconds
from scipy.stats import spearmanr

from nas.strategy.stopping import rungs_of
from nas.study.front import pareto_front
from nas.study.records import last_epochs_mean

RESULTS = Path(__file__).parent / "results"
GRID = 1000  # moments at which the hypervolume is read
SHOWN = 25  # every so many of them are written down
MILESTONES = (0.25, 0.5, 1.0)  # of the time
TOLERANCE = 0.1  # a network is as good as the smallest that meets the target when it has at most so much more
Array = np.ndarray[Any, np.dtype[np.float64]]
Point = tuple[int, float]  # parameters, percent


class Measure:
    """The hypervolume between the space's least network, the budget and a reference accuracy."""

    def __init__(self, table: Table, reference: float) -> None:
        points = [(curve.num_params, last_epochs_mean(curve.accuracy)) for curve in table.curves.values()]
        self.reference = reference
        self.least = min(size for size, _ in points)
        self.budget = table.settings.max_params
        self.whole = 1.0
        self.whole = self.share(points)

    def share(self, points: Sequence[Point]) -> float:
        """The hypervolume of `points`, of that of the table's front."""
        above = [point for point in points if point[1] > self.reference]
        front = pareto_front(above, lambda p: p[0], lambda p: p[1])
        sizes = [*(size for size, _ in front), self.budget]
        steps = zip(front, sizes[1:], strict=True)
        area = sum(math.log(end / size) * (accuracy - self.reference) for (size, accuracy), end in steps)
        return area / self.whole


def over_time(trained: Sequence[Trained], measure: Measure, seconds: float) -> Array:
    """The hypervolume at the end of each of GRID equal parts of the time."""
    values, done, value = [], 0, 0.0
    points: list[Point] = []
    for moment in np.linspace(0, seconds, GRID + 1)[1:]:
        before = len(points)
        while done < len(trained) and trained[done].ended <= moment:
            if trained[done].completed:
                points.append((trained[done].num_params, trained[done].accuracy))
            done += 1
        if len(points) > before:
            value = measure.share(points)
        values.append(value)
    return np.array(values)


def first_time(trained: Sequence[Trained], wanted: Callable[[Trained], bool]) -> float:
    """When the first completed trial that is `wanted` ended; infinity where none did."""
    return min((t.ended for t in trained if t.completed and wanted(t)), default=math.inf)


def saved(trained: Sequence[Trained]) -> float:
    """The share of training time that stopping early saved."""
    whole = sum(t.seconds_to_end for t in trained)
    return 1 - sum(t.seconds for t in trained) / whole if whole else 0.0


def kept(trained: Sequence[Trained], measure: Measure) -> float:
    """The hypervolume of what was completed, of that of all that was begun, had it been completed."""
    everything = measure.share([(t.num_params, t.accuracy) for t in trained])
    completed = measure.share([(t.num_params, t.accuracy) for t in trained if t.completed])
    return completed / everything if everything else 1.0


def interval(values: Array, statistic: Callable[[Array], float], draws: int = 2000) -> list[float | None]:
    """Bootstrap 95 % interval of `statistic` over the seeds, the first axis of `values` (Efron 1979, percentiles)."""
    rng = np.random.default_rng(0)
    count = len(values)
    found = [statistic(values[rng.integers(0, count, count)]) for _ in range(draws)]
    # Without interpolation, which two infinities do not survive.
    return [_finite(float(x)) for x in np.percentile(found, [2.5, 97.5], method="nearest")]


def _finite(value: float) -> float | None:
    """`value`, or None for never: JSON has no infinity."""
    return value if math.isfinite(value) else None


def mean_with_interval(values: Sequence[float] | Array) -> dict[str, Any]:
    """The mean over seeds with its interval."""
    array = np.asarray(values, dtype=float)
    return {"mean": float(array.mean()), "interval": interval(array, lambda a: float(a.mean()))}


def time_to_reach(curves: Array, level: float) -> float:
    """The share of the time after which the mean of `curves` (seeds, GRID) is at least `level`; infinity if never."""
    reached = np.nonzero(curves.mean(axis=0) >= level)[0]
    return float(reached[0] + 1) / GRID if len(reached) else math.inf


def ratio_of_times(ours: Array, rival: Array) -> dict[str, Any]:
    """The share of the time after which our mean reaches what the rival's comes to in the end; pairs of seeds."""
    pairs = np.stack([ours, rival], axis=1)

    def ratio(sample: Array) -> float:
        return time_to_reach(sample[:, 0], float(sample[:, 1, -1].mean()))

    return {"mean": _finite(ratio(pairs)), "interval": interval(pairs, ratio)}


def rank_correlations(table: Table) -> dict[int, float]:
    """Spearman's correlation, over the table, of the best accuracy up to each rung with that of the end."""
    curves = list(table.curves.values())
    final = [last_epochs_mean(curve.accuracy) for curve in curves]
    return {
        rung: float(spearmanr([max(curve.accuracy[:rung]) for curve in curves], final).statistic)
        for rung in rungs_of(table.settings.epochs)
    }


def front_of(table: Table) -> list[Curve]:
    """The table's own front."""
    return pareto_front(table.curves.values(), lambda c: c.num_params, lambda c: last_epochs_mean(c.accuracy))


def timed_replay(seed: int, *, name: str, table: Table, seconds: float, workers: int) -> tuple[list[Trained], float]:
    """What the method `name` trains, and the real seconds that its replay took."""
    started = time.monotonic()
    return replay(METHODS[name], table, seed, seconds, workers), time.monotonic() - started


def timed_replays(
    table: Table, names: Sequence[str], seeds: int, seconds: float, workers: int, jobs: int
) -> dict[str, list[tuple[list[Trained], float]]]:
    """Every method on every seed, in `jobs` processes."""
    replays = {}
    with ProcessPoolExecutor(jobs, get_context("spawn")) as processes:
        for name in names:
            started = time.monotonic()
            one = partial(timed_replay, name=name, table=table, seconds=seconds, workers=workers)
            replays[name] = list(processes.map(one, range(seeds)))
            print(f"{name}: {seeds} seeds in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return replays


def run(
    table: Table,
    names: Sequence[str],
    seeds: int,
    trainings: int,
    workers: int,
    reference: float,
    target: float,
    jobs: int = 1,
) -> dict[str, Any]:
    """Every method on every seed, in `jobs` processes, and what follows from it."""
    measure = Measure(table, reference)
    seconds = typical_seconds(table, trainings, workers)
    meeting = [curve.num_params for curve in front_of(table) if last_epochs_mean(curve.accuracy) >= target]
    methods: dict[str, Any] = {}
    curves: dict[str, Array] = {}
    for name, replays in timed_replays(table, names, seeds, seconds, workers, jobs).items():
        runs, real_seconds = zip(*replays, strict=True)
        curves[name] = np.array([over_time(trained, measure, seconds) for trained in runs])
        last = [int(GRID * milestone) - 1 for milestone in MILESTONES]
        first = [first_time(trained, lambda t: t.accuracy >= target) for trained in runs]
        smallest = [
            first_time(trained, lambda t: t.accuracy >= target and t.num_params <= (1 + TOLERANCE) * min(meeting))
            for trained in runs
        ]
        methods[name] = {
            "hypervolume": {
                str(milestone): mean_with_interval(curves[name][:, at])
                for milestone, at in zip(MILESTONES, last, strict=True)
            },
            "over_time": [round(float(x), 4) for x in curves[name].mean(axis=0)[SHOWN - 1 :: SHOWN]],
            "first_meeting_target": _reached(first, seconds),
            "smallest_meeting_target": _reached(smallest, seconds),
            "training_saved": mean_with_interval([saved(trained) for trained in runs]),
            "hypervolume_kept": mean_with_interval([kept(trained, measure) for trained in runs]),
            "begun": float(np.mean([len(trained) for trained in runs])),
            "completed": float(np.mean([sum(t.completed for t in trained) for trained in runs])),
            "real_seconds": round(float(np.median(real_seconds)), 2),
        }
    for name, result in methods.items():
        if "ours" in curves and name != "ours":
            result["time_of_ours_to_its_end"] = ratio_of_times(curves["ours"], curves[name])
    return {
        "table": table.settings.dataset,
        "settings": asdict(table.settings),
        "networks": len(table.curves),
        "reference": reference,
        "target": target,
        "smallest_meeting_target": min(meeting),
        "seeds": seeds,
        "workers": workers,
        "simulated_seconds": round(seconds, 1),
        "trainings": trainings,
        "rank_correlations": rank_correlations(table),
        "methods": methods,
    }


def _reached(times: Sequence[float], seconds: float) -> dict[str, Any]:
    """How many seeds got there, and the mean share of the time it took, all of it where they did not."""
    return {
        "reached": float(np.mean([math.isfinite(t) for t in times])),
        "time": mean_with_interval([min(t, seconds) / seconds for t in times]),
    }


def readable(document: dict[str, Any]) -> str:
    """The document as a table."""
    milestones = "".join(f"{f'at {m:.0%}':>8}" for m in MILESTONES)
    lines = [
        f"{document['networks']} networks of {document['table']}, {document['seeds']} seeds, {document['workers']} "
        f"workers, the time of {document['trainings']} trainings to the end.",
        f"Hypervolume in % of the table's front, above {document['reference']:g} %; target {document['target']:g} %, "
        f"met from {document['smallest_meeting_target']:,} parameters on; times in % of the whole.",
        "rank correlation with the end: "
        + ", ".join(f"epoch {r} {c:.2f}" for r, c in document["rank_correlations"].items()),
        "",
        f"{'':<26}{milestones}{'95 % interval':>15}{'ours there at':>15}{'95 %':>13}{'target':>8}{'smallest':>10}"
        f"{'(found)':>9}{'saved':>7}{'kept':>7}{'begun':>7}{'done':>6}{'s/seed':>8}",
    ]
    for name, m in document["methods"].items():
        volumes = "".join(f"{100 * v['mean']:8.1f}" for v in m["hypervolume"].values())
        low, high = m["hypervolume"][str(MILESTONES[-1])]["interval"]
        ratio = m.get("time_of_ours_to_its_end", {"mean": None, "interval": [None, None]})
        mean, *ends = ("–" if r is None else f"{100 * r:.0f}" for r in (ratio["mean"], *ratio["interval"]))
        lines.append(
            f"{name:<26}{volumes}{100 * low:8.1f} –{100 * high:5.1f}{mean:>15}{' to '.join(ends):>13}"
            f"{100 * m['first_meeting_target']['time']['mean']:8.0f}"
            f"{100 * m['smallest_meeting_target']['time']['mean']:10.0f}"
            f"{100 * m['smallest_meeting_target']['reached']:9.0f}"
            f"{100 * m['training_saved']['mean']:7.0f}{100 * m['hypervolume_kept']['mean']:7.1f}{m['begun']:7.0f}"
            f"{m['completed']:6.0f}{m['real_seconds']:8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="digits")
    parser.add_argument("--folder", type=Path, default=TABLES, help="where the table lies")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument(
        "--trainings", type=int, default=100, help="to the end, that the simulated time would suffice for"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--reference", type=float, help="percent; the median of the table unless given")
    parser.add_argument("--target", type=float, help="percent; what a tenth of the table meets unless given")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--jobs", type=int, default=1, help="processes; the real seconds of a seed want idle cores")
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    parser.add_argument("--write", action="store_true", help="keep the result under results/")
    options = parser.parse_args()
    table = read_table(options.table, options.folder)
    final = [last_epochs_mean(curve.accuracy) for curve in table.curves.values()]
    reference = float(np.median(final).round(1)) if options.reference is None else options.reference
    target = float(np.quantile(final, 0.9).round(1)) if options.target is None else options.target
    document = {
        "date": date.today().isoformat(),
        "hardware": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version(), "optuna": optuna.__version__, "numpy": np.__version__},
        **run(
            table,
            options.methods,
            options.seeds,
            options.trainings,
            options.workers,
            reference,
            target,
            options.jobs,
        ),
    }
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"search_quality_{options.table}.json"
        path.write_text(json.dumps(document, indent=2) + "\n")
        print(f"written: {path}", file=sys.stderr)
    print(json.dumps(document, indent=2) if options.json else readable(document))


if __name__ == "__main__":
    main()
