"""Runs the jobs of one device. A worker owns one `Trainer`, sends it `Orders` and receives `News`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from nas.arch import lower
from nas.data.split import Parts
from nas.errors import BudgetError, InvalidError, NasError, OutOfMemoryError, TrainingError, describe
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
    """A job that is trained now."""

    job: Job
    network: nn.Module
    training: Training


class Trainer:
    """Trains jobs on one device, several in turn where they fit.

    A training goes on after an epoch without waiting for an answer, so that the device is busy while the coordinator
    decides. A job that is to stop has then trained a turn or two in vain. Each data set is prepared once.
    """

    def __init__(self, parts: Parts, device: torch.device | Device, trials_per_device: int | None = None) -> None:
        """Prepare for jobs on `device`.

        Args:
            parts: the images.
            device: where to train.
            trials_per_device: how many jobs share the device; by default what its memory holds, and one on the CPU.
        """
        self._parts = parts
        self._device = device_of(device)
        self._prepared = PreparedParts(parts, self._device)
        self._shared_device = SharedDevice(self._device, trials_per_device)
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
        events = [event for job in orders.start for event in self._begin(job)]
        while self._active and not events:
            events = [event for report in self._shared_device.advance() for event in self._events_of(report)]
            if time.monotonic() >= until:
                break
        return News(tuple(events), self._shared_device.capacity, self._note())

    def _note(self) -> str:
        missing = {
            "CUDA graphs": self._device.capture_problem,
            "the kernels for its norms": self._device.kernel_problem,
        }
        notes = [f"{self._device} trains without {what}, slower: {why}" for what, why in missing.items() if why]
        return "; ".join(notes)

    def _begin(self, job: Job) -> list[JobEvent]:
        """Add `job` to the trainings; return why it failed where it cannot be trained."""
        try:
            network = _build_network(job)
            training = Training(network, job.recipe, self._prepared.of(job.confirms), job.seed)
        except (NasError, RuntimeError, OSError) as error:
            if not isinstance(error, NasError) and not self._device.still_works():
                raise
            failure = _failure_of(error)
            if failure.cause == "memory":
                self._shared_device.admit_fewer(self._shared_device.num_trainings + 1)
            return [JobEvent(job.key, failure)]
        self._shared_device.add(training, goes_first=job.confirms)
        self._active[job.key] = _ActiveJob(job, network, training)
        return []

    def _stop(self, key: JobKey) -> None:
        if stopped := self._active.pop(key, None):  # it may have ended meanwhile
            self._shared_device.drop(stopped.training)

    def _events_of(self, report: Report) -> list[JobEvent]:
        """Return what a turn of a training means for its job."""
        (active,) = (active for active in self._active.values() if active.training is report.training)
        key, what = active.job.key, report.what
        if isinstance(what, Exception):
            del self._active[key]
            return [JobEvent(key, _failure_of(what))]
        events = [JobEvent(key, what)]
        if active.training.is_done:
            del self._active[key]
            events.append(JobEvent(key, Finished(network=self._encode_network(active))))
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
    """Return why a job failed."""
    memory = isinstance(error, OutOfMemoryError) or is_out_of_memory(error)
    if memory:
        return Finished(describe(error), "memory")
    # What a network or its recipe cannot be blamed for: the compiler, the device, the disk, the images.
    machine = isinstance(error, OSError) or (
        isinstance(error, NasError) and not isinstance(error, TrainingError | InvalidError | BudgetError)
    )
    return Finished(describe(error), "machine" if machine else "training")
