"""The trainings of one device. Every kind of worker has one, wherever it runs, and talks to it in orders and news."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from nas.arch import lower
from nas.data.split import Parts
from nas.errors import NasError, OutOfMemoryError
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork
from nas.train.device_sharing import Report, Together
from nas.train.engine import PreparedData, Training, prepare
from nas.workers.messages import Event, Finished, Job, JobKey, News, Orders

EXCHANGE_SECONDS = 0.5  # after which orders are heard, whether or not there is news


@dataclass(frozen=True)
class _Running:
    """A job, and its place in the training that it may share with other seeds."""

    job: Job
    network: nn.Module
    training: Training
    index: int


class Trainer:
    """Trains jobs on one device, several in turn where they fit; the two parts that they need are prepared once each.

    A training goes on after an epoch without waiting for an answer, so that nothing idles while the coordinator thinks;
    what it does in vain before it is told to stop is a turn or two.
    """

    def __init__(
        self,
        parts: Parts,
        device: torch.device,
        trials_per_device: int | None = None,
        joins_seeds: bool | None = None,
    ) -> None:
        """`trials_per_device` sets how many share the device, in place of measured memory (and one on the CPU).

        `joins_seeds` trains the seeds of one confirmation as one batch: by default on CUDA, since on the CPU that is
        slower than one after the other.
        """
        if device.type == "cuda":
            torch.cuda.set_device(device)  # or what names no device would take memory on the first one
        self._parts = parts
        self._device = device
        self._joins_seeds = joins_seeds_on(device) if joins_seeds is None else joins_seeds
        self._prepared: dict[bool, PreparedData] = {}
        self._together = Together(device, trials_per_device)
        self._running: dict[JobKey, _Running] = {}

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to train."""
        return not self._running

    def exchange(self, orders: Orders, seconds: float = EXCHANGE_SECONDS) -> News:
        """Follows `orders` and trains until there is something to tell, nothing to train, or `seconds` are over.

        Whatever ends a job without ending the others is told, not raised.

        Raises:
            RuntimeError: the device can compute nothing more in this process.
        """
        until = time.monotonic() + seconds
        for key in orders.stop:
            self._stop(key)
        events = [event for jobs in self._groups(orders.start) for event in self._begin(jobs)]
        while self._running and not events:
            events = [event for report in self._together.advance() for event in self._told(report)]
            if time.monotonic() >= until:
                break
        return News(tuple(events), self._together.capacity)

    def _groups(self, jobs: Iterable[Job]) -> list[list[Job]]:
        """Jobs that are trained as one: seeds of one network and recipe, where that is faster."""
        groups: dict[object, list[Job]] = {}
        for job in jobs:
            joins = self._joins_seeds and job.confirms and not job.alone
            groups.setdefault((job.architecture, job.recipe) if joins else job.key, []).append(job)
        return list(groups.values())

    def _begin(self, jobs: list[Job]) -> list[Event]:
        """Lets `jobs` take turns, as one training; what there is to tell if they cannot."""
        try:
            data = self._data(jobs[0].confirms)
            networks = [_network(job) for job in jobs]
            training = Training(networks, jobs[0].recipe, data, [job.seed for job in jobs])
        except (NasError, RuntimeError) as error:
            if isinstance(error, NotImplementedError) and len(jobs) > 1:  # a layer not known for several seeds
                return [event for job in jobs for event in self._begin([job])]
            failed = _failed(error)
            if failed.cause == "memory":
                self._together.admit_fewer(self._together.num_seeds + len(jobs))
            return [Event(job.key, failed) for job in jobs]
        self._together.add(training)
        for index, (job, network) in enumerate(zip(jobs, networks, strict=True)):
            self._running[job.key] = _Running(job, network, training, index)
        return []

    def _stop(self, key: JobKey) -> None:
        stopped = self._running.pop(key, None)  # it may have ended meanwhile
        if stopped and all(running.training is not stopped.training for running in self._running.values()):
            self._together.drop(stopped.training)

    def _told(self, report: Report) -> list[Event]:
        """What a turn means for each of the jobs that it was taken for."""
        events = []
        for key, running in tuple(self._running.items()):
            if running.training is not report.training:
                continue
            if isinstance(report.what, Exception):
                events.append(Event(key, _failed(report.what)))
            else:
                events.append(Event(key, report.what[running.index]))
                if not running.training.is_done:
                    continue
                events.append(Event(key, Finished(network=self._trained(running))))
            del self._running[key]
        return events

    def _trained(self, running: _Running) -> bytes:
        data, job = self._data(running.job.confirms), running.job
        mean, std = (tuple(round(v, 6) for v in t.flatten().tolist()) for t in (data.mean, data.std))
        weights = {name: t.detach().cpu().numpy() for name, t in running.network.state_dict().items()}
        return TrainedNetwork(job.architecture, job.recipe, weights, mean, std, self._parts.class_names).to_bytes()

    def _data(self, confirms: bool) -> PreparedData:
        if confirms not in self._prepared:
            p = self._parts
            pair = (p.whole_train, p.test) if confirms else (p.train, p.validation)
            self._prepared[confirms] = prepare(*pair, p.policy, self._device)
        return self._prepared[confirms]


def joins_seeds_on(device: torch.device) -> bool:
    """Whether several seeds of one network train faster as one batch there."""
    return device.type == "cuda"


def _network(job: Job) -> nn.Module:
    torch.manual_seed(job.seed)
    return build(lower(job.architecture))


def _failed(error: Exception) -> Finished:
    """Why a job failed, in one line: our own errors speak for themselves, others are named."""
    memory = isinstance(error, OutOfMemoryError | torch.OutOfMemoryError)
    text = str(error)[:200].partition("\n")[0]
    reason = str(error) if isinstance(error, NasError) else f"{type(error).__name__}: {text}"
    return Finished(reason, "memory" if memory else "training")
