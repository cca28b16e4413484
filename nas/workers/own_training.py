"""Training by a person's own function: `nas.search(..., train=function)`, called as `function(network, recipe, trial)`.

The function runs in a greenlet of the worker's thread: `trial.report` hands the epoch over and goes on when the worker
is asked for more, so that the coordinator decides between epochs as it does for the training of this package.
"""

from __future__ import annotations

import contextlib
import math
import pickle
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from nas.arch import Recipe
from nas.data.split import Parts
from nas.errors import NasError, UsageError, describe
from nas.model.build import build
from nas.model.image_network import ImageNetwork
from nas.model.trained_network import TrainedNetwork
from nas.train.device import device_of
from nas.train.engine import evaluate
from nas.train.epoch import Epoch
from nas.train.memory_errors import is_out_of_memory
from nas.train.prepared_data import PreparedData
from nas.workers.messages import Finished, Job, JobEvent, News, Orders
from nas.workers.prepared_parts import PreparedParts

_PACKAGE = str(Path(__file__).parents[1])
MOST_THROWN = 100  # times that a function which catches `TrialStopped` is told again
ROUNDING = 1e-3  # points, of an accuracy that a function says


class TrialStopped(BaseException):
    """Ends a training that the search has stopped. Not an Exception, so that `except Exception` lets it pass."""


class Trial:
    """One training, as a person's function sees it. Images are uint8 (N, C, H, W), labels int64 (N); on `device`."""

    def __init__(self, job: Job, network: ImageNetwork, data: PreparedData, class_names: tuple[str, ...]) -> None:
        self.number = job.key[0]
        self.confirms = job.confirms  # whether it trains on the whole training set, and is judged by the test set
        self.seed = job.seed  # of everything random: the weights were drawn under it, by torch.manual_seed
        self.device = data.device.torch_device
        self.class_names = class_names  # by label
        self.train_images, self.train_labels = data.train.images, data.train.labels
        self.evaluation_images, self.evaluation_labels = data.evaluation.images, data.evaluation.labels
        self._job, self._network, self._data = job, network, data
        self._began = time.perf_counter()
        self.reported: list[float] = []  # percent, one an epoch

    def accuracy(self) -> float:
        """Return what share of the evaluation images, in percent, the network classifies right as it is now."""
        was_training = self._network.training
        try:
            return evaluate(self._network.net, self._data)
        finally:
            self._network.train(was_training)

    def report(self, epoch: int, accuracy: float, train_loss: float = math.nan) -> None:
        """Report that an epoch has ended; return if the training is to go on.

        Args:
            epoch: from 1.
            accuracy: percent of the evaluation images that the network classifies right as it is now.
            train_loss: mean over the epoch's images; shown to callbacks, and decides nothing.

        Raises:
            TrialStopped: the training is to end; let it pass.
            UsageError: the epoch is not the next one, or the accuracy is no percentage.
        """
        due, most = len(self.reported) + 1, self._job.recipe.epochs
        if epoch != due or epoch > most:
            raise UsageError(
                f"trial.report: epoch {epoch} is reported where {due} of {most} is due; report each, from 1"
            )
        accuracy = as_percent(accuracy, "trial.report: the accuracy")
        self.reported.append(accuracy)
        seconds = time.perf_counter() - self._began
        getcurrent().parent.switch(Epoch(epoch, float(train_loss), accuracy, seconds, len(self.train_labels)))
        self._began = time.perf_counter()


TrainFunction = Callable[[ImageNetwork, Recipe, Trial], float | Tensor | None]


class FunctionTrainer:
    """Runs the jobs of one device by a person's function, one at a time; to a worker what `Trainer` is."""

    def __init__(self, function: TrainFunction, parts: Parts, device: torch.device) -> None:
        self._function = function
        self._parts = parts
        self._prepared = PreparedParts(parts, device_of(device))
        self._waiting = deque[Job]()
        self._active: _Call | None = None
        self._has_worked = False  # whether any epoch was reported: until then an error is the function's, not a trial's

    @property
    def is_idle(self) -> bool:
        """Return whether there is nothing to train."""
        return self._active is None and not self._waiting

    def exchange(self, orders: Orders) -> News:
        """Follow `orders`, and train until the next epoch or end of a job."""
        self._waiting = deque([*(job for job in self._waiting if job.key not in orders.stop), *orders.start])
        if self._active and self._active.job.key in orders.stop:
            self.close()
        if self._active is None and self._waiting:
            job = self._waiting.popleft()
            self._active = _Call(self._function, job, self._prepared.of(job.confirms), self._parts.class_names)
        if self._active is None:
            return News((), 1)
        what = self._active.advance(self._has_worked)
        event = JobEvent(self._active.job.key, what)
        if isinstance(what, Epoch):
            self._has_worked = True
        else:
            self._active = None
        return News((event,), 1)

    def close(self) -> None:
        """Stop the function, if it runs."""
        if self._active:
            self._active.stop()
        self._active = None


class _Call:
    """One call of the function."""

    def __init__(self, function: TrainFunction, job: Job, data: PreparedData, class_names: tuple[str, ...]) -> None:
        self.job, self._data, self._class_names = job, data, class_names
        self._name = name_of(function)
        torch.manual_seed(job.seed)
        self._mean, self._std = data.mean_and_std()
        network = ImageNetwork(build(job.architecture), self._mean, self._std).to(data.device.torch_device).train()
        self._shapes = {name: tensor.shape for name, tensor in network.net.state_dict().items()}
        self._network = network
        self._trial = Trial(job, network, data, class_names)
        self._greenlet: Any = greenlet(lambda: function(network, job.recipe, self._trial))

    def advance(self, has_worked: bool) -> Epoch | Finished:
        """Return the next epoch, or the end."""
        try:
            result = self._greenlet.switch()
            return self._finish(result) if self._greenlet.dead else result
        except (Exception, SystemExit, TrialStopped) as error:
            if is_out_of_memory(error):
                return Finished(describe(error), "memory")
            # What the function says wrong, or meets at once, it would do for every network.
            is_its_own = isinstance(error, NasError) or not has_worked
            text = f"the function {self._name} failed{_place_of(error)}: {describe(error)}"
            return Finished(text, "machine" if is_its_own else "training")

    def stop(self) -> None:
        """Raise `TrialStopped` where the function waits, until it has ended."""
        for _ in range(MOST_THROWN):
            if self._greenlet.dead or not self._greenlet:
                return
            with contextlib.suppress(TrialStopped, Exception):  # whatever it does with what nobody waits for
                self._greenlet.throw(TrialStopped())

    def _finish(self, returned: object) -> Finished:
        """Return the trained network, once it is what the function has said of it.

        Raises:
            UsageError: it is not.
        """
        reported, due = self._trial.reported, self.job.recipe.epochs
        if len(reported) != due:
            raise UsageError(
                f"it returned with {len(reported)} epochs reported, and the search compares networks at {due}: call "
                f"trial.report(epoch, accuracy) after each"
            )
        if {name: tensor.shape for name, tensor in self._network.net.state_dict().items()} != self._shapes:
            raise UsageError("it has changed the network's layers: train the network that is given")
        measured = evaluate(self._network.net, self._data)
        said = reported[-1] if returned is None else as_percent(returned, "what it returned")
        slack = 100.0 / len(self._data.evaluation) + ROUNDING  # one image, that rounding may turn
        for value in (said, reported[-1]):
            if abs(value - measured) > slack:
                raise UsageError(
                    f"it says {value:.2f} %, and the network that it leaves classifies {measured:.2f} % of the "
                    f"evaluation images right: say what it is after its last epoch; trial.accuracy() measures that"
                )
        weights = {name: tensor.detach().cpu().numpy() for name, tensor in self._network.net.state_dict().items()}
        about = (self.job.architecture, self.job.recipe, weights, self._mean, self._std, self._class_names)
        return Finished(network=TrainedNetwork(*about).to_bytes())


def as_percent(value: object, what: str) -> float:
    """Return `value` as a number from 0 to 100.

    Raises:
        UsageError: it is none.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not 0.0 <= number <= 100.0:
        raise UsageError(f"{what} is {value!r:.80}, and no percentage from 0 to 100")
    return number


def require_own_training(settings_name: str | None, function: TrainFunction | None, is_shared: bool) -> None:
    """Refuse a function that is not the one of the study, or that other processes could not have.

    Args:
        settings_name: by which the study knows it; None where the study is trained by this package.
        function: the one that is given now.
        is_shared: whether other processes than this one are to call it.

    Raises:
        UsageError: it cannot be taken.
    """
    if function is None:
        if settings_name is not None:
            raise UsageError(
                f"the study is trained by the function {settings_name}, which was given in Python: go on there, with "
                f"train={settings_name}"
            )
        return
    if settings_name is not None and settings_name != name_of(function):
        raise UsageError(f"the study is trained by the function {settings_name}, and {name_of(function)} is given")
    if not is_shared:
        return
    name = name_of(function)
    if "<" in name or "__main__" in (getattr(function, "__module__", ""), type(function).__module__):
        problem = "it is defined in the program itself, in a notebook or within another function"
    else:
        try:
            pickle.loads(pickle.dumps(function))
            return
        except Exception as error:
            problem = describe(error)
    raise UsageError(
        f"the function {name} cannot be given to other processes: {problem}; put it into a module of its own and "
        f"import it from there, or leave `workers` out, and it trains in this process"
    )


def name_of(function: object) -> str:
    """Return what people call a function."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def _place_of(error: BaseException) -> str:
    """Return where the error came from: the last line that is none of a library or of this package."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(_PACKAGE) and "site-packages" not in f.filename]
    return f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
