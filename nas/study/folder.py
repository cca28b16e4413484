"""Where a study keeps its files, and the document that says what it is."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.arch import Input
from nas.costs import Count
from nas.decode import MAX_FILE_BYTES, decode, encode
from nas.errors import InvalidError, NasError, StudyError, UsageError
from nas.host import written_whole
from nas.study.settings import CHANGEABLE, StudySettings, with_present_names


@dataclass(frozen=True, slots=True)
class StudyImages:
    """What a study knows of its images without the images themselves."""

    shape: Input
    class_names: tuple[str, ...]  # by label
    num_train: int
    num_validation: int
    num_test: int

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What a study's numbers depend on besides its settings: 16 hex digits each."""

    space: str
    data: str


@dataclass(frozen=True, slots=True)
class StudyDocument:
    """What `settings.json` holds."""

    settings: StudySettings
    fingerprints: Fingerprints
    identity: str = ""  # of the folder, wherever it is copied: a shared storage may hold other studies of its name
    storage: str | None = None  # the address, without a password; None for SQLite in the folder
    images: StudyImages | None = None  # None in studies of version 0.1, until they are searched again
    stored_name: str = ""  # of the study in its storage: that of its folder when it was created; empty in version 0.1


# Those that come with nas: beside the package in a checkout, inside it in a wheel.
SHIPPED_STUDIES = next(
    (p / "studies" for p in Path(__file__).resolve().parents[1:3] if (p / "studies").is_dir()), Path()
)


def study_names(studies: Path) -> list[str]:
    """Return the names of the studies in a folder."""
    return sorted({*(p.parents[1].name for p in studies.glob("*/run/settings.json")),
                   *(p.parent.name for p in studies.glob("*/study.json"))})  # fmt: skip


def find_study(studies: Path, name: str) -> StudyFolder:
    """Return a study of a folder or, where that has none of the name, the one of that name that comes with nas.

    Raises:
        UsageError: the name cannot be one.
    """
    folder, shipped = StudyFolder(studies, name), StudyFolder(SHIPPED_STUDIES, name)
    return shipped if not folder.exists and shipped.is_kept else folder


class StudyFolder:
    """`studies/NAME`: what a run writes lies under `run/`, what a person asks for (a report) beside it."""

    def __init__(self, studies: Path, name: str) -> None:
        """A name is one plain folder name, so that it cannot lead out of `studies`.

        Raises:
            UsageError: it is not.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise UsageError(
                f"`name` {name!r}: a study name has 1 to 100 letters, digits, '.', '_' or '-' and begins with a letter "
                f"or digit"
            )
        self.name = name
        self.path = studies / name
        self.run = self.path / "run"

    @property
    def settings_file(self) -> Path:
        """The document as JSON, written when the study is created."""
        return self.run / "settings.json"

    @property
    def kept_file(self) -> Path:
        """The document of a study of which only what a person wanted to keep is left: see `nas.study.kept`."""
        return self.path / "study.json"

    @property
    def is_kept(self) -> bool:
        """Whether that is all there is: the study can be looked at and begun with, and not gone on with."""
        return self.kept_file.is_file() and not self.settings_file.is_file()

    def require_resumable(self) -> None:
        """Refuse what takes the trainings of a study, such as going on with it, where only that is left.

        Raises:
            StudyError: it is one.
        """
        if self.is_kept:
            raise StudyError(
                f"of study {self.name!r} only the results are kept, not the database; look at it with: nas report "
                f"{self.name}, or begin another study with its networks: nas search --warm-start {self.name} --name "
                f"ANOTHER …"
            )

    @property
    def networks(self) -> Path:
        """The folder of its trained networks."""
        return (self.path if self.is_kept else self.run) / "networks"

    @property
    def space_file(self) -> Path:
        """The frozen copy of the space's file."""
        return (self.path if self.is_kept else self.run) / "space.toml"

    @property
    def lock_file(self) -> Path:
        """Locked by the one process that works on the study."""
        return self.run / "lock"

    @property
    def log_file(self) -> Path:
        """The decisions of the search, in the order in which they were taken."""
        return self.run / "log.jsonl"

    @property
    def time_file(self) -> Path:
        """The seconds that all runs of the search have taken."""
        return self.run / "seconds"

    @property
    def database_file(self) -> Path:
        """The SQLite database that holds the trials, unless the study keeps them elsewhere."""
        return self.run / "study.db"

    @property
    def exists(self) -> bool:
        """Whether the study was created."""
        return self.settings_file.is_file() or self.kept_file.is_file()

    @property
    def stored_name(self) -> str:
        """The study's name in its storage, which stays when the folder is renamed."""
        return (self.document().stored_name if self.exists else "") or self.name

    def require(self) -> None:
        """Refuse a study that does not exist, naming those that do.

        Raises:
            StudyError: it does not exist.
        """
        if not self.exists:
            studies = self.path.parent
            known = study_names(studies)
            there = f"studies in {studies}: {', '.join(known)}" if known else f"there is none in {studies} yet"
            raise StudyError(f"no study {self.name!r}; {there}; make one with: nas search --name {self.name} …")

    def settings(self) -> StudySettings:
        """Return the settings with which the study was created, or last resumed."""
        return self.document().settings

    @property
    def count(self) -> Count:
        """Which parameters the study goes by, or would by default where it does not exist."""
        return self.settings().count if self.exists else "trained"

    def document(self) -> StudyDocument:
        """Return what the study is.

        Raises:
            StudyError: the file is missing or damaged.
        """
        path = self.kept_file if self.is_kept else self.settings_file
        try:
            with path.open("rb") as file:
                plain = json.loads(file.read(MAX_FILE_BYTES))
            if isinstance(plain, dict) and isinstance(plain.get("settings"), dict):
                plain["settings"] = with_present_names(plain["settings"])
            return decode(StudyDocument, plain, str(path))
        except InvalidError as error:
            problem = "; ".join(error.problems)
        except (OSError, ValueError, RecursionError, NasError) as error:
            problem = str(error)
        raise StudyError(f"{path} is damaged: {problem}; restore it, or remove {self.path} to start anew")

    def create(self, document: StudyDocument, space_text: str) -> None:
        """Write the document and the frozen space; of an existing study, what a resume may change.

        Raises:
            StudyError: the folder cannot be written, or the study exists with other settings, space or data.
        """
        self.require_resumable()
        self.compare(document.settings, document.fingerprints)
        document = replace(document, identity=uuid.uuid4().hex, stored_name=self.stored_name)
        if self.exists:
            before = self.document()
            document = replace(document, identity=before.identity, storage=before.storage)
        try:
            self.run.mkdir(parents=True, exist_ok=True)
            if not self.exists:
                self.space_file.write_text(space_text, "utf-8")
            with written_whole(self.settings_file) as file:
                file.write_text(json.dumps(encode(document), indent=2) + "\n")
        except OSError as error:
            raise StudyError(f"cannot write {self.run}: {error.strerror}; give another `studies` folder") from None

    def compare(self, settings: StudySettings, fingerprints: Fingerprints) -> None:
        """Refuse to go on with an existing study as another than it was.

        Raises:
            StudyError: its settings, its space or its data are others.
        """
        if not self.exists:
            return
        before = self.document()
        differences = _differences(encode(before.settings), encode(settings))
        # The settings may explain another content: then they are what to tell.
        if not differences and before.fingerprints.space != fingerprints.space:
            differences.append(f"the space {settings.space!r} is not the one that it was made with")
        if not differences and before.fingerprints.data != fingerprints.data:
            differences.append(f"the images of {settings.dataset!r} are not those that it was made with")
        if differences:
            raise StudyError(
                f"study {self.name!r} exists with other settings: {'; '.join(differences)}; resume it with its own, or "
                f"give this search another `name`"
            )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        f"{key} was {before[key]!r} and is {now[key]!r}"
        for key in now
        if key not in CHANGEABLE and now[key] != before[key]
    ]
