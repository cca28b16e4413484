"""`nas replay`: what a search decided, or trained, once more."""

from __future__ import annotations

from pathlib import Path

from nas.app.study_data import study_dataset
from nas.coordinator.replay import Replay, replay
from nas.coordinator.retrain import Retrained, retrain
from nas.study.folder import StudyFolder


def do_again(folder: StudyFolder, trial: int | None, data_dir: Path | None) -> Replay | Retrained:
    """Derive every draw and every early stop of a study again, or train one of its trials again.

    Raises:
        NasError: the study has no log or no such trial, or its images are not there.
    """
    if trial is None:
        return replay(folder)
    return retrain(folder, trial, study_dataset(folder, data_dir))
