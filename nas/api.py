"""The same jobs from Python, such as a notebook: `nas.search(...)` and `nas.open_study(...)` give a `Study`.

import nas

study = nas.search(max_params=8000, target=99.4)
study.front
network = study.network()
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import StudyError, UsageError
from nas.study.folder import StudyFolder
from nas.study.settings import RENAMED, StudySettings, with_present_names

# Torch, Optuna and pandas are imported where they are used: `import nas` answers at once.
if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from nas.callbacks import Callback
    from nas.model.image_network import ImageNetwork
    from nas.study.mistakes import Mistakes
    from nas.study.records import ConfirmedFigure, TrialRecord
    from nas.workers.own_training import TrainFunction

# Optuna imports tqdm, which warns in notebooks that have no ipywidgets, of progress bars that nothing here draws.
warnings.filterwarnings("ignore", message="IProgress not found")


class Study:
    """What a search has found. Everything is read from the study's storage, also while a search still runs."""

    def __init__(self, folder: StudyFolder, data_dir: Path | None = None) -> None:
        self.folder = folder
        self._data_dir = data_dir

    @property
    def name(self) -> str:
        """By which it is resumed and opened, here and in `nas status NAME`."""
        return self.folder.name

    @property
    def settings(self) -> StudySettings:
        """What the search was asked for."""
        return self.folder.settings()

    @property
    def answer(self) -> str:
        """What was found, in one sentence."""

        from nas.study.answer import answer_text

        return answer_text(self._records(), self.settings)

    @property
    def front(self) -> pd.DataFrame:
        """The networks that no other beats in both size and accuracy, a row each, by size. Accuracies in percent."""
        from nas.study.tables import front_table

        return front_table(self._records(), self.settings.target)

    @property
    def trials(self) -> pd.DataFrame:
        """Every trial, a row each, its genes among the columns. Accuracies in percent, times in seconds."""
        from nas.study.tables import trials_table

        return trials_table(self._records())

    def curves(self, trial: int | None = None) -> pd.DataFrame:
        """How the network that answers the study was trained, or that of `trial`: a row for each epoch, in percent.

        Column `part` is 'validation' for the trial and 'test' for the seeds of its confirmation.

        Raises:
            StudyError: only the results of the study are kept.
        """
        from nas.study.tables import curves_table

        self.folder.require_resumable()
        return curves_table(self._trial(trial))

    def figure(self) -> go.Figure:
        """Return the front as an interactive figure (plotly)."""
        from nas.report.front_plotly import front_figure

        return front_figure(self._records(), self.settings)

    def network(self, trial: int | None = None) -> ImageNetwork:
        """Return the network that answers the study, or that of `trial`, with its weights, in eval mode.

        It takes images (N, C, H, W) with values 0 to 255 and gives logits (N, classes).

        Raises:
            StudyError: no trial has completed, or it has no weights, or there is no such trial.
        """
        from nas.app.export import load_network

        return load_network(self.folder, self._trial(trial), self._data_dir)

    def confusion(self, trial: int | None = None) -> pd.DataFrame:
        """Return how often images of each class (rows) are taken for each (columns), by that network.

        They are the test images, or those held out for validation where the trial is not confirmed.

        Raises:
            StudyError: as for `network`.
            DataError: it is not kept yet, and the images of the study are not there.
        """
        import pandas as pd

        found = self._mistakes(trial)
        names = list(found.class_names)
        return pd.DataFrame(found.confusion, index=pd.Index(names, name="class"), columns=names)

    def errors(self, trial: int | None = None) -> pd.DataFrame:
        """The most confident errors of that network, a row each: image (its place in the part), class, what it is
        taken for, and the probability (0 to 1) that the network gives to that.

        Raises:
            StudyError, DataError: as for `confusion`.
        """
        import pandas as pd

        found = self._mistakes(trial)
        names = found.class_names
        rows = [(e.image, names[e.label], names[e.predicted], e.probability) for e in found.errors]
        return pd.DataFrame(rows, columns=["image", "class", "taken_for", "probability"])

    def _mistakes(self, trial: int | None) -> Mistakes:
        from nas.app.mistakes import mistakes_of

        return mistakes_of(self.folder, self._trial(trial), self._data_dir)

    def predict(self, images: Any, trial: int | None = None) -> pd.DataFrame:
        """The probability (0 to 1) that the network gives each class, a column each, for each of `images`, a row each.

        Args:
            images: uint8 (N, C, H, W), (N, H, W, C) or (N, H, W), with values 0 to 255 as those that were trained on.
            trial: whose network is asked; by default the one that answers the study.

        Raises:
            StudyError: as for `network`.
            DataError: the images have another type or shape than those of the study.
        """
        from nas.app.predict import predict

        return predict(self.folder, self._trial(trial), images)

    def confirm(
        self,
        trial: int | None = None,
        num_seeds: int | None = None,
        *,
        workers: int | None = None,
        device: str = "auto",
        train: TrainFunction | None = None,
    ) -> ConfirmedFigure:
        """Train that network again from scratch, with fresh seeds on the whole training set, and read the test set.

        Args:
            trial: by default the one that answers the study.
            num_seeds: trainings in all; by default those of the study. What is trained already is not trained again.
            workers: processes that train; by default one a core, or one a GPU.
            device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
            train: the function that trains the study, if it is one of your own.

        Raises:
            NasError: something is wrong with the study, its data or the machine; nothing was trained.
            KeyboardInterrupt: it was interrupted; the same call goes on from there.
        """
        from nas.app.search import Machine, confirm
        from nas.terminal.notebook_view import search_view

        number, settings = self._trial(trial).number, self.settings
        with _unchanged_torch(), search_view() as view:
            machine = Machine(device, workers, self._data_dir, train=train)
            settings = replace(settings, num_seeds=num_seeds or settings.num_seeds)
            outcome = confirm(self.folder, settings, number, machine, [view])
        if outcome.interrupted:
            raise KeyboardInterrupt("what was trained is kept; the same call goes on")
        figure = self._trial(number).confirmed
        if figure is None:
            raise StudyError(f"no seed of trial {number} was trained to its end")
        return figure

    def export(
        self, path: str | os.PathLike[str], trial: int | None = None, *, prefix: str | None = None
    ) -> dict[str, Any]:
        """Write that network to `path`, in the format that its name asks for; return what the file claims.

        `.py` is a module that needs nothing but torch, its weights beside it; `nas export --help` lists the others.
        `prefix` is what the symbols of a C header begin with, by default the file's name.

        Raises:
            StudyError: as for `network`.
            ExportError: the name asks for no format, the format needs a package that is missing or cannot hold this
                network, or the file cannot be written.
        """
        from nas.app.export import export

        return export(self.folder, self._trial(trial), Path(path), self._data_dir, prefix)

    def report(self, output: str | os.PathLike[str] | None = None) -> Path:
        """Write the report's files to the folder `output`, by default the study's own; return the page.

        Raises:
            StudyError: the folder cannot be written.
        """
        from nas.report.files import write_report

        return write_report(self.folder, self._records(), Path(output) if output is not None else None)[0]

    def _records(self) -> list[TrialRecord]:
        from nas.storage.study_store import read_records

        return read_records(self.folder)

    def _trial(self, number: int | None) -> TrialRecord:
        from nas.app.look import find_trial

        return find_trial(self.folder, number)

    def __repr__(self) -> str:
        return f"<nas study {self.name!r}: {self.answer}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from nas.report.front_svg import front_svg

        picture = front_svg(self._records(), self.settings, inline=True)
        return f"<p><b>{escape(self.name)}</b>: {escape(self.answer)}</p>{picture}"


def search(
    max_params: int | None = None,
    *,
    target: float | None = None,
    stop_at_first: bool | None = None,
    dataset: str | os.PathLike[str] | Sequence[Any] | None = None,
    space: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    warm_start: str | Path | Sequence[str | Path] | None = None,
    name: str | None = None,
    max_trials: int | None = None,
    max_seconds: float | str | None = None,
    epochs: int | None = None,
    num_seeds: int | None = None,
    class_weights: str | None = None,
    augmentation_kind: str | None = None,
    seed: int | None = None,
    sampler: Any = None,
    count: str | None = None,
    max_macs: int | None = None,
    max_activation_bytes: int | None = None,
    max_flash: int | None = None,
    max_ram: int | None = None,
    board: str | None = None,
    image_size: int | None = None,
    color: bool | None = None,
    workers: int | None = None,
    trials_per_device: int | None = None,
    cluster: str | None = None,
    device: str = "auto",
    data_dir: str | os.PathLike[str] | None = None,
    studies: str | os.PathLike[str] = "studies",
    storage: str | None = None,
    train: TrainFunction | None = None,
    callbacks: Sequence[Callback] = (),
    **renamed: Any,
) -> Study:
    """Find the smallest networks that do the job, within a hard budget of parameters; see `nas search --help`.

    The same name again resumes a study, where what is left out is as before. An interrupt (Ctrl-C, or the stop button
    of a notebook) raises KeyboardInterrupt once all that was found is kept; the same call goes on from there.

    Args:
        max_params: the hard budget. Needed for a new study.
        target: test accuracy in percent; the answer is the smallest network whose confirmation meets it.
        stop_at_first: end at the first one that does, in place of going on for smaller ones.
        dataset: a name such as 'mnist'; the path of a folder of images or of an `.npz` file; or (train, test) or
            (train, validation, test), each a pair of images (N, H, W), (N, C, H, W) or (N, H, W, C) and labels, or a
            torchvision data set without a transform. They are kept in the study's folder, and a resume refuses others.
        space: a shipped search space, the path of a TOML file, or a dict with what such a file holds, which is kept in
            the study's folder.
        warm_start: what to begin with, one or several: the name of an earlier study, for the networks of its front;
            'reference', for the published networks; the path of an architecture file (TOML).
        name: of the study; by default made of data, space and budget.
        max_trials: finished trials at which the search ends.
        max_seconds: after which the search ends, counted over all its runs and with its confirmations; or '30m', '2h'.
        epochs: of a training.
        num_seeds: trainings of a confirmation.
        class_weights: 'balanced' gives rare classes the same weight in training as frequent ones; by default 'none'.
        augmentation_kind: how images are varied in training: as 'photos' (mirror, shift, cutout, colors), as 'glyphs'
            (turn, shift, scale, shear), or as is usual for the 'data', which is the default.
        seed: of the study.
        sampler: of the networks to try: 'auto', 'tpe', 'gp', 'nsgaii', 'cmaes', 'random', or a sampler of Optuna
            (`optuna.samplers.BaseSampler`), which a resume has to be given again.
        count: which parameters `max_params`, the front and the answer go by: those that are 'trained', the default, or
            those 'deployed', which are left once batch norms are folded into convolutions.
        max_macs: most multiply-accumulates an image.
        max_activation_bytes: most bytes of activations (float32, one image).
        max_flash: most bytes of a microcontroller's flash, in 8 bits.
        max_ram: most bytes of its RAM, in 8 bits.
        board: both of a board, by its name.
        image_size: pixels; for folders of images.
        color: whether to read colors; for folders of images.
        workers: processes that train; by default one a core, or one a GPU.
        trials_per_device: trials that each worker trains in turn; by default what a GPU's memory holds, one on the CPU.
        cluster: a Ray cluster to train on: 'HOST:PORT' or 'auto'.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        data_dir: where data sets lie, in torchvision's layout, or a study's own images if they have moved.
        studies: the folder that holds the studies.
        storage: where the trials go, as `nas search --storage` takes it.
        train: a function of your own that trains in place of nas, called as `train(network, recipe, trial)`; it reports
            epochs by `trial.report(epoch, accuracy)`. A resume has to be given it again. The guide says more.
        callbacks: what is told of each epoch, trial and confirmation: instances of `nas.callbacks.Callback`.
        renamed: arguments by the names that they had in version 0.1: trials, time, seeds, colour.

    Raises:
        NasError: something is wrong with the request, the data or the machine; nothing was trained.
        KeyboardInterrupt: the search was interrupted.
    """
    arguments, began = locals().copy(), time.monotonic()
    from nas.app.search import Machine
    from nas.app.search import search as run_search
    from nas.costs.boards import limits_of
    from nas.storage.address import StorageAddress
    from nas.strategy.fitted_sampler import name_given
    from nas.study.resolve_settings import default_name, given_settings, resolve_settings
    from nas.terminal.notebook_view import search_view

    if unknown := renamed.keys() - RENAMED.keys():
        raise TypeError(f"search() got an unexpected keyword argument {min(unknown)!r}")
    root = Path(studies)
    if max_params is None and not (name is not None and StudyFolder(root, name).exists):
        raise UsageError("`max_params` is missing; for example: nas.search(max_params=8000, target=99.4)")
    space_name = str(space.get("name", "own")) if isinstance(space, Mapping) else Path(space or "general").stem
    if dataset is not None and not isinstance(dataset, (str, os.PathLike)):
        name = name or default_name("images", space_name, max_params)
        from nas.app.own_images import keep_images

        dataset = keep_images(StudyFolder(root, name), dataset)
    if isinstance(space, Mapping):
        from nas.app.own_space import keep_space

        name = name or default_name(str(dataset or "mnist"), space_name, max_params)
        arguments["space"] = str(keep_space(StudyFolder(root, name), space))
    if sampler is not None and not isinstance(sampler, str):
        arguments["sampler"] = name_given(sampler)
    if train is not None:
        from nas.workers.own_training import name_of

        if not callable(train):
            raise UsageError(f"`train` {train!r:.80}: give a function train(network, recipe, trial)")
        arguments["train"] = name_of(train)
    arguments |= limits_of(board, max_flash, max_ram)
    changes = given_settings(arguments | {"dataset": dataset and str(dataset)} | with_present_names(renamed))
    folder, settings = resolve_settings(changes, root, name)
    machine = Machine(
        device, workers, Path(data_dir) if data_dir is not None else None, trials_per_device, cluster, train
    )
    address = StorageAddress.parse(storage) if storage is not None else None
    with _unchanged_torch(), search_view() as view:
        outcome = run_search(folder, settings, machine, [view], address, began, sampler, callbacks)
    if outcome.interrupted:
        raise KeyboardInterrupt(
            f"all that was found is kept: nas.search(name={folder.name!r}) goes on, nas.open_study({folder.name!r}) "
            f"looks at it"
        )
    return Study(folder, machine.data_dir)


def open_study(
    name: str, *, studies: str | os.PathLike[str] = "studies", data_dir: str | os.PathLike[str] | None = None
) -> Study:
    """Return the study of that name, also one that the command line made, or that is being searched.

    Raises:
        StudyError: it does not exist.
    """
    from nas.app.look import open_folder

    folder = open_folder(Path(studies), name)
    return Study(folder, Path(data_dir) if data_dir is not None else None)


def studies(studies: str | os.PathLike[str] = "studies") -> list[Study]:
    """Return the studies in a folder, the one that has changed last at the end."""
    from nas.app.look import study_folders

    return [Study(folder) for folder in study_folders(Path(studies))]


@contextmanager
def _unchanged_torch() -> Iterator[None]:
    """Leave a caller's own random numbers and threads as they are: they are none of a search's business."""
    import torch

    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
