"""Trials an hour with several local workers against one: the same `nas search`, whole commands, in turn.

    python benchmarks/workers.py --rounds 3 --json

Each run is one of a new study, from the command's first instruction to its last, starting its processes included. All
train the same networks, drawn at random beforehand and enqueued, for one epoch each; no target is near, so that nothing
is confirmed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import torch

from nas.coordinator.warm_start import WarmStart
from nas.costs import Budget
from nas.data.known import KNOWN_DATASETS
from nas.host import available_cores, cpu_model
from nas.space import Genes, draw_networks, load_space
from nas.storage.address import address_of
from nas.study.folder import StudyFolder

NAME = "timed"
MAX_PARAMS = 8000
SPACE = "separable"


def enqueue(folder: Path, trials: int) -> None:
    """Makes the same networks the first trials of a new study in `folder`."""
    draws = draw_networks(load_space(SPACE, *KNOWN_DATASETS["mnist"].images), Budget(MAX_PARAMS), 0)
    networks: dict[str, Genes] = {
        f"network {i}": draw.candidate.genes for i, draw in enumerate(itertools.islice(draws, trials))
    }
    study = StudyFolder(folder, NAME)
    study.run.mkdir(parents=True)
    WarmStart(networks, {}).enqueue(address_of(study).open(NAME), NAME)


def trials_an_hour(workers: int, trials: int, more: list[str]) -> float:
    """Of one whole command with that many workers."""
    with tempfile.TemporaryDirectory() as folder:
        enqueue(Path(folder), trials)
        command = [str(Path(sys.executable).with_name("nas")), "search", "--name", NAME, "--studies", folder]
        command += ["--max-params", str(MAX_PARAMS), "--space", SPACE, "--target", "100", "--epochs", "1"]
        command += ["--workers", str(workers), "--trials", str(trials), "--json", *more]
        started = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.monotonic() - started
    if ended.returncode != 3:  # the target cannot be met
        raise SystemExit(ended.stderr)
    fates = json.loads(ended.stdout)["trials"]
    assert fates == {"completed": trials}, fates
    return trials / seconds * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON document to standard output")
    parser.add_argument("more", nargs="*", help="further options of `nas search`, behind --")
    options = parser.parse_args()
    found: dict[int, list[float]] = {1: [], options.workers: []}
    for number in range(options.rounds):
        for workers, rates in found.items():
            rates.append(trials_an_hour(workers, options.trials, options.more))
            print(f"round {number + 1}: {workers} workers, {rates[-1]:.0f} trials an hour", file=sys.stderr, flush=True)
    ratios = [several / one for one, several in zip(*found.values(), strict=True)]
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "hardware": cpu_model(),
        "cores": available_cores(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "trials": options.trials,
        "trials_an_hour": {str(workers): [round(rate) for rate in rates] for workers, rates in found.items()},
        "ratios": [round(ratio, 2) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 2),
    }
    text = f"{options.workers} workers against 1: {document['median_ratio']} times the trials an hour (median)"
    print(json.dumps(document, indent=2) if options.json else text)


if __name__ == "__main__":
    main()
