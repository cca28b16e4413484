"""The search: the only place that imports Optuna."""

from nas.search.coordinator import Running, Snapshot, Watcher
from nas.search.run import Machine, Outcome, frozen_space, parts_of, search, study_dataset
from nas.search.settings import StudyFolder, StudySettings, read_settings
from nas.search.store import Store

__all__ = [
    "Machine",
    "Outcome",
    "Running",
    "Snapshot",
    "Store",
    "StudyFolder",
    "StudySettings",
    "Watcher",
    "frozen_space",
    "parts_of",
    "read_settings",
    "search",
    "study_dataset",
]
