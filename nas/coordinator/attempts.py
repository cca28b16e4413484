"""Trainings that failed: which are tried again, since the machine may be to blame."""

from __future__ import annotations

from dataclasses import replace

from nas.coordinator.snapshot import RunningJob
from nas.errors import MachineError
from nas.workers.messages import Finished, Job

MOST_DEATHS = 3  # of workers under one training, after which it is the training that kills them


def next_attempt(running: RunningJob, end: Finished) -> RunningJob | None:
    """Return the job that is trained in place of one that has failed; None where the training is to blame.

    Raises:
        MachineError: the machine is to blame, and any training would fail here.
    """
    if end.cause == "machine":
        raise MachineError(f"{end.reason}; nothing was counted against {describe(running.job)}")
    deaths = running.deaths + (end.cause == "worker")
    again = {
        "training": False,
        "memory": not running.job.alone,
        "worker": deaths < MOST_DEATHS,
    }[end.cause]
    if not again:
        return None
    # After two deaths it runs alone: it may have been another training on the device that killed the worker.
    alone = running.job.alone or end.cause == "memory" or deaths == MOST_DEATHS - 1
    job = replace(running.job, alone=alone)
    return replace(running, job=job, epochs=[], seconds_before=running.seconds, deaths=deaths)


def describe(job: Job) -> str:
    """Return what people call a job."""
    return f"a confirmation of trial {job.key[0]}" if job.confirms else f"trial {job.key[0]}"
