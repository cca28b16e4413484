"""Workers on a Ray cluster. Each is an actor with a `Trainer`, on any machine that has a core or a GPU for it.

Ray places the actors, carries orders and news, and tells when an actor is gone. The coordinator decides what is trained
where, and what is trained again, as it does with workers of this machine. Ray is loaded only when a cluster is asked
for.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch

from nas.data.images import ImageSet
from nas.data.policy import AugmentationPolicy
from nas.data.split import IMAGE_SETS, Parts, tensors_of
from nas.errors import DeviceError, StudyError, UsageError, describe
from nas.host import versions
from nas.train.device import find_device, use_one_thread
from nas.workers.device_trainer import Trainer
from nas.workers.interrupt import Interrupts
from nas.workers.messages import Finished, News, Orders
from nas.workers.ray_connection import connect
from nas.workers.worker import Worker, WorkerDied

if TYPE_CHECKING:
    import numpy as np

START_SECONDS = 60.0  # for the first worker to be ready, and for another when all are gone
_BESIDE_THE_PACKAGE = ("search_spaces", "studies")  # in a checkout; a wheel has them within


def check_cluster(address: str, device: str) -> None:
    """Check a request before anything is started.

    Raises:
        UsageError: Ray is not installed, or the address is of another kind.
        DeviceError: the device is not one that Ray hands out.
    """
    if find_spec("ray") is None:
        raise UsageError("`cluster` needs Ray, which is not installed; pip install 'nas-budget[ray]'")
    if address == "local":
        raise UsageError(
            "`cluster` 'local': there is no such cluster; leave `cluster` out to train on this machine, or start one "
            "here with `ray start --head` and give 'auto'"
        )
    if "://" in address or not address:
        raise UsageError(
            f"`cluster` {address!r}: give HOST:PORT or auto; a machine outside of the cluster joins it with: "
            f"ray start --address=HOST:PORT"
        )
    if device not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"`device` {device}: a cluster hands out its GPUs itself; use auto, cpu or cuda")


@contextlib.contextmanager
def cluster_workers(
    address: str,
    device: str,
    workers: int | None,
    trials_per_device: int | None,
    parts: Parts,
    interrupts: Interrupts,
    say: Callable[[str], None],
) -> Iterator[list[ClusterWorker]]:
    """Yield the workers of a cluster, of which one at least has started; they end with the body.

    Args:
        address: HOST:PORT, or 'auto'.
        device: of the cluster's machines, 'cpu' or 'cuda'; 'auto' is its GPUs where it has any.
        workers: by default one a core, or one a GPU; more share them.
        trials_per_device: trainings at once of a worker, as `Trainer` takes it.
        parts: the images.
        interrupts: that end the waiting.
        say: where a line for people goes.

    Raises:
        NasError: there is no such cluster, or it cannot do the job.
        KeyboardInterrupt: a signal came while waiting.
    """
    with connect(address) as ray:
        cluster = _Cluster(ray, device, workers, trials_per_device, parts, interrupts)
        try:
            for _ in range(cluster.num_workers):
                cluster.workers.append(ClusterWorker(cluster))
            cluster.wait_for_a_worker()
            say(f"{cluster.num_workers} Ray workers, {cluster.share:g} {cluster.resource} each")
            yield cluster.workers
        finally:
            for worker in cluster.workers:
                worker.close()


class ClusterWorker(Worker):
    """Trains in an actor. While there are jobs, a call to it is under way; it hears of new orders by the next call."""

    def __init__(self, cluster: _Cluster) -> None:
        super().__init__(cluster.trials_per_device)
        self._cluster = cluster
        self._ray = cluster.ray
        self._begin()

    def _begin(self) -> None:
        self._actor, self._starting = self._cluster.start_actor()
        self._has_started = False
        self._call: Any = None  # the future of the news
        self._waiting = Orders()

    @property
    def has_started(self) -> bool:
        """Return whether the actor is ready.

        Raises:
            StudyError: its machine cannot do the job.
        """
        if not self._has_started and self._ray.wait([self._starting], timeout=0)[0]:
            try:
                problem = self._ray.get(self._starting)
            except self._ray.exceptions.RayActorError:
                self._begin()
                return False
            if problem:
                raise StudyError(f"a machine of the Ray cluster cannot train: {problem}; see that it has the same nas")
            self._has_started = True
        return self._has_started

    @classmethod
    def ready(cls, workers: Sequence[Self], timeout: float) -> Sequence[Self]:
        """Return those whose call has returned, or whose actor has died."""
        by_call = {worker._call: worker for worker in workers}
        ray = workers[0]._ray
        if ray.wait(list(by_call), timeout=timeout)[0]:
            return [by_call[call] for call in ray.wait(list(by_call), num_returns=len(by_call), timeout=0)[0]]
        return []

    def close(self) -> None:
        """End the actor."""
        self._ray.kill(self._actor)

    def _send(self, orders: Orders) -> None:
        self._waiting = self._waiting.then(orders)
        if self._call is None:
            self._go_on()

    def _go_on(self) -> None:
        self._call = self._actor.exchange.remote(self._waiting)
        self._waiting = Orders()

    def _receive(self) -> News:
        try:
            news = self._ray.get(self._call)
        except self._ray.exceptions.RayActorError:
            raise WorkerDied("the actor died, or its machine was lost") from None
        except self._ray.exceptions.RayTaskError as error:
            raise WorkerDied(f"the actor gave up: {describe(error.cause)}") from None
        assert isinstance(news, News)
        self._call = None
        ended = {event.key for event in news.events if isinstance(event.what, Finished)}
        if self.jobs.keys() - ended or self._waiting != Orders():
            self._go_on()  # the device must not wait for what the coordinator makes of the news
        return news

    def _restart(self) -> None:
        self.close()
        self._begin()
        self._cluster.wait_for_a_worker()


class _Cluster:
    """A Ray cluster to which this process is connected, and what its actors share."""

    def __init__(
        self,
        ray: Any,
        device: str,
        workers: int | None,
        trials_per_device: int | None,
        parts: Parts,
        interrupts: Interrupts,
    ) -> None:
        self.ray = ray
        self.workers: list[ClusterWorker] = []
        self.trials_per_device = trials_per_device
        self._interrupts = interrupts
        there = ray.cluster_resources()
        gpus, cpus = int(there.get("GPU", 0)), int(there.get("CPU", 0))
        use_gpus = device == "cuda" or (device == "auto" and gpus > 0)
        self.resource, total = ("GPU", gpus) if use_gpus else ("CPU", cpus)
        if total == 0:
            raise StudyError(f"the Ray cluster has no {self.resource}; use another `device`")
        self.num_workers = workers or total
        self.share = 1 / math.ceil(self.num_workers / total)
        room = {"num_gpus": self.share, "num_cpus": 0} if use_gpus else {"num_cpus": self.share}
        self._actor_class = ray.remote(_actor_class()).options(max_restarts=0, max_task_retries=0, **room)
        # Once in the store of each machine, and read there in place.
        images = {name: [t.numpy() for t in tensors_of(getattr(parts, name))] for name in IMAGE_SETS}
        self._data = ray.put((images, asdict(parts.policy), parts.class_names))

    def start_actor(self) -> tuple[Any, Any]:
        """Ask for a new actor; return it, and a future of what is wrong with it, which is there when it is ready."""
        actor = self._actor_class.remote()
        return actor, actor.start.remote(nas_version(), self._data, self.resource == "GPU", self.trials_per_device)

    def wait_for_a_worker(self) -> None:
        """Wait until some worker is ready.

        Raises:
            StudyError: there is none, and none comes.
            KeyboardInterrupt: a signal came.
        """
        deadline = time.monotonic() + START_SECONDS
        while not any(worker.has_started for worker in self.workers):
            if self._interrupts.requested:
                raise KeyboardInterrupt
            if time.monotonic() > deadline:
                raise StudyError(
                    f"no worker could be started on the Ray cluster within {START_SECONDS:g} s: each needs "
                    f"{self.share:g} {self.resource}, and `ray status` says who has them; resume with the same "
                    f"command"
                )
            time.sleep(0.05)


def _actor_class() -> type:
    """Return the class of the actors.

    Ray sends the code of a class that was made in a function, so that an actor can say that its machine has no nas.
    """

    class TrainerActor:
        def start(self, expected: str, data: Any, on_gpu: bool, trials_per_device: int | None) -> str:
            """Return what is wrong, if anything."""
            import socket

            try:
                from nas.workers.ray_actors import trainer_of_actor

                images, policy, names = data
                self._trainer = trainer_of_actor(expected, images, policy, names, on_gpu, trials_per_device)
            except Exception as error:
                return f"{socket.gethostname()}: {error}"
            return ""

        def exchange(self, orders: Orders) -> News:
            return self._trainer.exchange(orders)

    return TrainerActor


def trainer_of_actor(
    expected: str,
    images: dict[str, list[np.ndarray[Any, Any]]],
    policy: dict[str, Any],
    class_names: tuple[str, ...],
    on_gpu: bool,
    trials_per_device: int | None,
) -> Trainer:
    """Return the trainer of an actor, on the actor's own machine. `images` are read-only arrays in shared memory.

    Raises:
        StudyError: the coordinator has another version of nas, by which the same architecture may train otherwise.
        DeviceError: the machine's torch has no GPU.
    """
    if expected != nas_version():
        raise StudyError(f"it has nas {nas_version()}, and the search runs with {expected}")
    device = find_device("cuda" if on_gpu else "cpu")
    use_one_thread(device)
    parts = {name: ImageSet(_tensor(pixels), _tensor(labels)) for name, (pixels, labels) in images.items()}
    all_parts = Parts(**parts, policy=AugmentationPolicy(**policy), class_names=class_names)
    return Trainer(all_parts, device, trials_per_device)


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, that it must not be written to; nobody does
        return torch.from_numpy(array)


def nas_version() -> str:
    """Return the version of this nas with a digest of its files, which change between two releases too."""
    return f"{versions()['nas']} ({digest_files(Path(__file__).parents[1])[:8]})"


def digest_files(root: Path) -> str:
    """Return the SHA-256 of the files of a package, by their names: of the kernels as of Python's."""
    content = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and "__pycache__" not in name.parts and name.parts[0] not in _BESIDE_THE_PACKAGE:
            data = path.read_bytes()
            content.update(f"{name.as_posix()}\n{len(data)}\n".encode() + data)
    return content.hexdigest()
