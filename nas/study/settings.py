"""The settings of a study: what makes two searches the same one, and where a study keeps its files."""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from nas.arch import Budget
from nas.decode import MAX_FILE_BYTES, Bounds, decode, encode, read_toml
from nas.errors import InvalidError, StudyError, UsageError

if TYPE_CHECKING:
    from nas.storage.address import StorageAddress

DEFAULT_TRIALS = 100  # where neither trials nor time are given


@dataclass(frozen=True, slots=True)
class StudySettings:
    """What a study file holds; every field but the last five is fixed once the study exists."""

    max_params: Annotated[int, Bounds(1, 1_000_000_000)]  # the hard budget
    max_macs: Annotated[int, Bounds(1, 10**15)] | None = None
    max_activation_bytes: Annotated[int, Bounds(1, 10**15)] | None = None
    dataset: str = "mnist"  # a name, or a folder of images
    image_size: Annotated[int, Bounds(4, 1024)] | None = None  # pixels; folders only
    color: bool | None = None  # folders only; None is what the images are
    space: str = "separable"  # a shipped space, or a .toml file
    epochs: Annotated[int, Bounds(1, 10_000)] | None = None  # None is what the space says
    seed: Annotated[int, Bounds(0, 2**31 - 1)] = 0
    warm_start: tuple[str, ...] = ()  # studies, 'reference' or .toml files whose networks are the first trials
    target: Annotated[float, Bounds(0.0, 100.0)] | None = None  # percent of the test set
    stop_at_first: bool = False  # end at the first network that meets the target, not at the smallest to be found
    trials: Annotated[int, Bounds(1, 1_000_000)] | None = None  # finished trials at which the search ends
    time: Annotated[float, Bounds(0.0, 1e9)] | None = None  # seconds after which this run of the search ends
    seeds: Annotated[int, Bounds(1, 100)] = 3  # trainings of a confirmation

    @property
    def budget(self) -> Budget:
        """The hard budget."""
        return Budget(self.max_params, self.max_macs, self.max_activation_bytes)

    @property
    def most_trials(self) -> int | None:
        """Finished trials at which the search ends; None where it is time alone that ends it."""
        return DEFAULT_TRIALS if self.trials is None and self.time is None else self.trials


_FREE = ("target", "stop_at_first", "trials", "time", "seeds")


@dataclass(frozen=True, slots=True)
class _Fingerprints:
    """What a study's numbers depend on besides its settings."""

    space: str
    data: str


@dataclass(frozen=True, slots=True)
class _Document:
    """The file that a study keeps its settings in."""

    settings: StudySettings
    fingerprints: _Fingerprints
    identity: str = ""  # of the folder, wherever it is copied: a shared storage may hold other studies of its name
    storage: str | None = None  # the address, without a password; None for SQLite in the folder


def read_settings(path: Path) -> StudySettings:
    """The settings in the study file at `path`.

    Raises:
        InvalidError: with every problem in the file.
    """
    return decode(StudySettings, read_toml(path), str(path))


class StudyFolder:
    """`studies/NAME`: the settings and the frozen space in the open, everything that a run writes under `run/`."""

    def __init__(self, studies: Path, name: str) -> None:
        """A name is one plain folder name, so that it cannot lead out of `studies`.

        Raises:
            UsageError: it is not.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise UsageError(
                f"--name {name!r}: a study name has 1 to 100 letters, digits, '.', '_' or '-' and begins with a letter "
                f"or digit"
            )
        self.name = name
        self.path = studies / name
        self.run = self.path / "run"

    @property
    def settings_file(self) -> Path:
        """The settings as JSON, written when the study is created."""
        return self.run / "settings.json"

    @property
    def space_file(self) -> Path:
        """The frozen copy of the space's file."""
        return self.run / "space.toml"

    @property
    def lock_file(self) -> Path:
        """Locked by the one process that works on the study."""
        return self.run / "lock"

    @property
    def log_file(self) -> Path:
        """The decisions of the search, in the order in which they were taken."""
        return self.run / "log.jsonl"

    def storage(self) -> StorageAddress:
        """Where the trials are: what the study was created with, by default SQLite in the folder.

        Raises:
            StudyError: the settings are damaged.
        """
        from nas.storage.address import StorageAddress  # brings Optuna, which reading settings does not need

        kept = self._document().storage if self.exists else None
        return StorageAddress.parse(kept) if kept else StorageAddress.of_file(self.run / "study.db")

    @property
    def storage_url(self) -> str:
        """The address of the storage, without a password, as Optuna takes it."""
        return self.storage().url

    @property
    def identity(self) -> str:
        """What tells this folder's study from others of its name; empty before it is created."""
        return self._document().identity if self.exists else ""

    @property
    def has_weights(self) -> bool:
        """Whether a trial was ever trained here."""
        return any(self.run.glob("weights/*.pt"))

    def weights_file(self, trial: int, seed: int | None = None) -> Path:
        """Where a trial's weights lie, or those of one seed of its confirmation."""
        suffix = "" if seed is None else f"_confirmed_{seed}"
        return self.run / "weights" / f"trial_{trial}{suffix}.pt"

    @property
    def exists(self) -> bool:
        """Whether the study was created."""
        return self.settings_file.is_file()

    def require(self, studies: Path) -> None:
        """Refuses a study that does not exist, naming those that do.

        Raises:
            StudyError: it does not exist.
        """
        if not self.exists:
            known = sorted(p.parent.parent.name for p in studies.glob("*/run/settings.json"))
            there = f"studies in {studies}: {', '.join(known)}" if known else f"there is none in {studies} yet"
            raise StudyError(f"no study {self.name!r}; {there}; make one with: nas search --name {self.name} …")

    def settings(self) -> StudySettings:
        """The settings with which the study was created, or last resumed."""
        return self._document().settings

    def fingerprints(self) -> dict[str, str]:
        """The digest of the frozen space and the fingerprint of the data, as they were at the start."""
        fingerprints = self._document().fingerprints
        return {"space": fingerprints.space, "data": fingerprints.data}

    def _document(self) -> _Document:
        try:
            with self.settings_file.open("rb") as file:
                text = file.read(MAX_FILE_BYTES)
            return decode(_Document, json.loads(text), str(self.settings_file))
        except InvalidError as error:
            problem = "; ".join(error.problems)
        except (OSError, ValueError, RecursionError) as error:
            problem = str(error)
        raise StudyError(f"{self.settings_file} is damaged: {problem}; restore it, or remove {self.path} to start anew")

    def create(
        self,
        settings: StudySettings,
        space_text: str,
        fingerprints: dict[str, str],
        storage: StorageAddress | None = None,
    ) -> None:
        """Writes settings and frozen space; on an existing study, only what a resume may change.

        The trials go to `storage` where one is given. What is kept of it is its address, without its password.

        Raises:
            StudyError: the folder cannot be written, or the study exists with other settings, space or data.
        """
        kept = storage.url if storage else None
        identity = uuid.uuid4().hex
        self.compare(settings, fingerprints, storage)
        if self.exists:
            before = self._document()
            kept, identity = before.storage, before.identity
        try:
            (self.run / "weights").mkdir(parents=True, exist_ok=True)
            if not self.exists:
                self.space_file.write_text(space_text)
            document = _Document(settings, _Fingerprints(**fingerprints), identity, kept)
            partial = self.settings_file.with_suffix(".partial")
            partial.write_text(json.dumps(encode(document), indent=2) + "\n")
            partial.replace(self.settings_file)
        except OSError as error:
            raise StudyError(
                f"cannot write {self.run}: {error.strerror}; use --studies to keep studies elsewhere"
            ) from None

    def compare(
        self, settings: StudySettings, fingerprints: dict[str, str], storage: StorageAddress | None = None
    ) -> None:
        """Refuses to go on with an existing study as another than it was.

        Raises:
            StudyError: its settings, space, data or storage are others.
        """
        if not self.exists:
            return
        if storage and storage != self.storage():
            raise StudyError(
                f"study {self.name!r} keeps its trials in {self.storage()}, not in {storage}; leave --storage out, or "
                f"give this search another --name"
            )
        before, now = encode(self.settings()), encode(settings)
        differences = [
            f"{key} was {before[key]!r} and is {now[key]!r}"
            for key in now
            if key not in _FREE and now[key] != before[key]
        ]
        old = self.fingerprints()
        differences += [
            f"the {what} has changed since"
            for what in fingerprints
            if old[what] != fingerprints[what] and not differences
        ]
        if differences:
            raise StudyError(
                f"study {self.name!r} exists with other settings: {'; '.join(differences)}; resume it with its own, or "
                f"give this search another --name"
            )
