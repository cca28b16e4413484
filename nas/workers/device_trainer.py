"""Runs the jobs of one device. A worker owns one `Trainer`, sends it `Orders` and receives `News`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from nas.arch import lower
from nas.data.split import Parts
from nas.errors import BudgetError, InvalidError, NasError, OutOfMemoryError, TrainingError
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork
from nas.train.device import device_of
from nas.train.device_interface import Device
from nas.train.device_sharing import Report, SharedDevice
from nas.train.engine import Training
from nas.train.memory_errors import is_out_of_memory
from nas.workers.messages import Finished, Job, JobEvent, JobKey, News, Orders
from nas.workers.prepared_parts import PreparedParts

EXCHANGE_SECONDS = 0.5  # after which new orders are read, whether or not there are events


@dataclass(frozen=True)
class _ActiveJob:
    """A job that is trained now, and its place in the training that it may share with other seeds."""

    job: Job
    network: nn.Module
    training: Training
    index: int


class Trainer:
    """Trains jobs on one device, several in turn where they fit.

    A training goes on after an epoch without waiting for an answer, so that the device is busy while the coordinator
    decides. A job that is to stop has then trained a turn or two in vain. Each data set is prepared once.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device | Device,
        trials_per_device: int | None = None,
        joins_seeds: bool = False,
    ) -> None:
        """Prepare for jobs on `device`.

        Args:
            parts: the images.
            device: where to train.
            trials_per_device: how many jobs share the device; by default what its memory holds, and one on the CPU.
            joins_seeds: whether to train the seeds of one confirmation as one batch. On the CPU that is slower than one
                after the other.
        """
        self._parts = parts
        self._device = device_of(device)
        self._joins_seeds = joins_seeds
        self._prepared = PreparedParts(parts, self._device)
        self._together = SharedDevice(self._device, trials_per_device)
        self._active: dict[JobKey, _ActiveJob] = {}

    @property
    def is_idle(self) -> bool:
        """Return whether there is nothing to train."""
        return not self._active

    def exchange(self, orders: Orders, seconds: float = EXCHANGE_SECONDS) -> News:
        """Follow `orders`, and train until there is an event, nothing to train, or `seconds` are over.

        An error that ends one job and not the others is an event of that job.

        Raises:
            RuntimeError: the device can compute nothing more in this process.
        """
        until = time.monotonic() + seconds
        for key in orders.stop:
            self._stop(key)
        events = [event for jobs in self._group(orders.start) for event in self._begin(jobs)]
        while self._active and not events:
            events = [event for report in self._together.advance() for event in self._events_of(report)]
            if time.monotonic() >= until:
                break
        return News(tuple(events), self._together.capacity, self._note())

    def _note(self) -> str:
        problem = self._device.capture_problem
        return f"{self._device} trains without CUDA graphs, slower: {problem}" if problem else ""

    def _group(self, jobs: Iterable[Job]) -> list[list[Job]]:
        """Group jobs that are trained as one: seeds of one network and recipe, where that is faster."""
        groups: dict[object, list[Job]] = {}
        for job in jobs:
            joins = self._joins_seeds and job.confirms and not job.alone
            groups.setdefault((job.architecture, job.recipe) if joins else job.key, []).append(job)
        return list(groups.values())

    def _begin(self, jobs: list[Job]) -> list[JobEvent]:
        """Add `jobs` as one training; return why they failed where they cannot be trained."""
        try:
            data = self._prepared.of(jobs[0].confirms)
            networks = [_build_network(job) for job in jobs]
            training = Training(networks, jobs[0].recipe, data, [job.seed for job in jobs])
        except (NasError, RuntimeError, OSError) as error:
            if isinstance(error, NotImplementedError) and len(jobs) > 1:  # a layer not known for several seeds
                return [event for job in jobs for event in self._begin([job])]
            if not isinstance(error, NasError) and not self._device.still_works():
                raise
            failure = _failure_of(error)
            if failure.cause == "memory":
                self._together.admit_fewer(self._together.num_seeds + len(jobs))
            return [JobEvent(job.key, failure) for job in jobs]
        self._together.add(training)
        for index, (job, network) in enumerate(zip(jobs, networks, strict=True)):
            self._active[job.key] = _ActiveJob(job, network, training, index)
        return []

    def _stop(self, key: JobKey) -> None:
        stopped = self._active.pop(key, None)  # it may have ended meanwhile
        if stopped and all(active.training is not stopped.training for active in self._active.values()):
            self._together.drop(stopped.training)

    def _events_of(self, report: Report) -> list[JobEvent]:
        """Return what a turn of a training means for each of its jobs."""
        events = []
        for key, active in tuple(self._active.items()):
            if active.training is not report.training:
                continue
            if isinstance(report.what, Exception):
                events.append(JobEvent(key, _failure_of(report.what)))
            else:
                events.append(JobEvent(key, report.what[active.index]))
                if not active.training.is_done:
                    continue
                events.append(JobEvent(key, Finished(network=self._encode_network(active))))
            del self._active[key]
        return events

    def _encode_network(self, active: _ActiveJob) -> bytes:
        """Return the trained network of a job as bytes."""
        job = active.job
        mean, std = self._prepared.of(job.confirms).mean_and_std()
        weights = {name: t.detach().cpu().numpy() for name, t in active.network.state_dict().items()}
        return TrainedNetwork(job.architecture, job.recipe, weights, mean, std, self._parts.class_names).to_bytes()


def _build_network(job: Job) -> nn.Module:
    """Return the network of `job`, initialized by its seed."""
    torch.manual_seed(job.seed)
    return build(lower(job.architecture))


def _failure_of(error: Exception) -> Finished:
    """Return why a job failed, in one line: our own errors speak for themselves, others are named."""
    memory = isinstance(error, OutOfMemoryError) or is_out_of_memory(error)
    text = str(error)[:200].partition("\n")[0]
    reason = str(error) if isinstance(error, NasError) else f"{type(error).__name__}: {text}"
    if memory:
        return Finished(reason, "memory")
    # What a network or its recipe cannot be blamed for: the compiler, the device, the disk, the images.
    machine = isinstance(error, OSError) or (
        isinstance(error, NasError) and not isinstance(error, TrainingError | InvalidError | BudgetError)
    )
    return Finished(reason, "machine" if machine else "training")
