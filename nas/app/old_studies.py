"""Studies of version 0.1, brought to the present form.

They kept the weights of each network in a file of torch's, and neither its architecture nor its normalization; and
their settings did not say what the images are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.app.study_data import images_of, study_dataset
from nas.arch import Input
from nas.data.images import Dataset
from nas.data.split import parts_of
from nas.errors import StudyError, first_line
from nas.model.trained_network import TrainedNetwork
from nas.space import load_space
from nas.storage.study_store import Store
from nas.study.folder import StudyFolder
from nas.study.kept import known_candidate
from nas.study.networks import keep_network, network_file
from nas.study.recipe import trial_recipe
from nas.train.prepared_data import compute_normalization


def upgrade(folder: StudyFolder, dataset: Dataset | None = None, data_dir: Path | None = None) -> None:
    """Rewrite a study of version 0.1; leave any other as it is. May be done again where it was cut off.

    Args:
        folder: the study.
        dataset: its images, where they were read already.
        data_dir: where to find them otherwise.

    Raises:
        NasError: the images are needed and not there, or the folder cannot be read or written.
    """
    document = folder.document()
    if document.images is not None:
        return
    settings = document.settings
    dataset = dataset or study_dataset(folder, data_dir)
    parts = parts_of(dataset, settings.seed)
    space = load_space(str(folder.space_file), Input(*dataset.image_shape), dataset.num_classes)
    of_trials = compute_normalization(parts.train.images)
    of_confirmations = compute_normalization(parts.whole_train.images)
    for record in Store(folder).records():
        found = known_candidate(space, record)
        if found is None:
            continue  # of no network of this space; it was never trained
        recipe = trial_recipe(space, settings, record.genes)
        for seed in (None, *(confirmation.seed for confirmation in record.confirmations)):
            suffix = "" if seed is None else f"_confirmed_{seed}"
            file = folder.run / "weights" / f"trial_{record.number}{suffix}.pt"
            if not file.is_file() or network_file(folder, record.number, seed).is_file():
                continue
            mean, std = of_trials if seed is None else of_confirmations
            weights = read_old_weights(file)
            network = TrainedNetwork(found.architecture, recipe, weights, mean, std, dataset.classes)
            keep_network(folder, record.number, seed, network.to_bytes())
    images = images_of(dataset, parts)
    folder.create(replace(document, images=images), folder.space_file.read_text("utf-8"))


def read_old_weights(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the weights in a file of version 0.1, which is read as data and runs nothing.

    Raises:
        StudyError: the file is damaged.
    """
    try:
        state: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return {name: tensor.numpy() for name, tensor in state.items()}
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise StudyError(
            f"{file} is damaged: {first_line(error)}; restore it, or remove it and lose that network"
        ) from None
