"""Where trials are kept: addresses without their secrets, files with odd names, and PostgreSQL."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import postgres
import pytest
from watching import Watching

from nas.app.search import Machine, Outcome, search
from nas.coordinator.coordinator import Snapshot
from nas.errors import StudyError, UsageError
from nas.storage.address import StorageAddress
from nas.storage.journal_lock import JournalLock
from nas.storage.locks import BusyError, StorageError
from nas.storage.study_store import Store
from nas.study.folder import StudyFolder
from nas.study.settings import StudySettings

if TYPE_CHECKING:
    pass

SETTINGS = StudySettings(2000, dataset="digits", space="tiny_digits", epochs=2, max_trials=4, num_seeds=1)
HERE = Machine(device="cpu", workers=1)
SECRET = "s3cr3t"


def _search(folder: StudyFolder, address: StorageAddress | None = None, watching: Watching | None = None) -> Outcome:
    return search(folder, SETTINGS, HERE, [watching or Watching()], address)


def _fates(outcome: Outcome) -> list[str]:
    return [record.fate for record in outcome.records]


# Addresses


@pytest.mark.parametrize(
    ("text", "shown", "password"),
    [
        ("postgresql://me:pa%40ss@db.example:5433/nas", "postgresql://me@db.example:5433/nas", "pa@ss"),
        ("postgres://me@[::1]/nas?sslmode=require", "postgresql://me@[::1]/nas?sslmode=require", None),
        ("postgresql+psycopg:///nas?host=%2Fvar%2Frun", "postgresql:///nas?host=%2Fvar%2Frun", None),
        ("journal:///data/trials.journal", "journal:///data/trials.journal", None),
        ("journal:///data/a b?c#d%2Fe", "journal:///data/a b?c#d%2Fe", None),
        ("postgresql://m%40e:pa/ss@host/nas", "postgresql://m%40e@host/nas", "pa/ss"),
    ],
)
def test_an_address_shows_everything_but_the_password(text: str, shown: str, password: str | None) -> None:
    address = StorageAddress.parse(text)
    assert (str(address), address.password) == (shown, password)
    assert address == StorageAddress.parse(shown)
    assert password is None or password not in repr(address)


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (f"postgresql://me:{SECRET}@@host/nas", "`storage` is no address of the form postgresql://USER:PASSWORD@HOST"),
        (f"postgresql://me:{SECRET}@x@host/nas", "in user and password write '@', '/', ':', '\\?' and '#' as %40"),
        (f"postgresql://me:x#{SECRET}@host/nas", "`storage` is no address of the form"),
        (f"postgresql://me/x:{SECRET}@host/nas", "`storage` is no address of the form"),
        (f"postgresql://me:{SECRET}", "`storage` is no address of the form"),
        (f"postgresql://{SECRET}@me@host/nas", "`storage` is no address of the form"),
        (f"postgresql://me@host/nas?password={SECRET}", "of the connection's options only these may be given: appl"),
        (f"mysql://me:{SECRET}@host/nas", "`storage` is no address of the form"),
        (f"postgresql://me:{SECRET}@host", "`storage` is no address of the form"),
        ("journal://", "journal:// names no file"),
        ("sqlite:///x.db", "SQLite in the study's folder is the default; leave it out"),
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(text: str, refusal: str) -> None:
    with pytest.raises(UsageError, match=refusal) as refused:
        StorageAddress.parse(text)
    assert SECRET not in str(refused.value)


def test_a_study_finds_its_journal_again(tmp_path: Path) -> None:
    folder, address = StudyFolder(tmp_path, "a"), StorageAddress.parse(f"journal://{tmp_path}/trials.journal")
    first = _search(folder, address)
    assert not (folder.run / "study.db").exists()
    assert Store(folder).records() == first.records == _search(folder).records
    with pytest.raises(StudyError, match=r"study 'a' keeps its trials in journal://.*/trials.journal, not in journal:"):
        _search(folder, StorageAddress.parse("journal:///elsewhere"))


def test_two_folders_do_not_share_a_study_by_its_name(tmp_path: Path) -> None:
    address = StorageAddress.parse(f"journal://{tmp_path}/trials.journal")
    _search(StudyFolder(tmp_path / "mine", "a"), address)
    with pytest.raises(StudyError, match="holds another study 'a', made in another folder; copy that folder to"):
        _search(StudyFolder(tmp_path / "yours", "a"), address)


# Files that are not ours, and names that are odd


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n no line end here", b"a line\n", b'{"a": 1}\n', b"[1]\n", b'{"op_code":true}\n', b"{"):
        picture = tmp_path / "picture"
        picture.write_bytes(content)
        with pytest.raises(StorageError, match=r"/picture is no journal of Optuna's, and is left as it is; name an"):
            _search(StudyFolder(tmp_path, "a"), StorageAddress.parse(f"journal://{picture}"))
        assert picture.read_bytes() == content
        with pytest.raises(StorageError, match="is no journal"):
            JournalLock(picture).acquire()  # it became another file after it was opened
        assert picture.read_bytes() == content
    with pytest.raises(StorageError, match="is no journal"):
        StorageAddress.parse(f"journal://{tmp_path}").open("a")


def test_a_journal_whose_first_line_is_torn_is_begun_anew(tmp_path: Path) -> None:
    journal = tmp_path / "trials.journal"
    journal.write_bytes(b'{"op_code":0,"worker_id":"x","stu')
    address = StorageAddress.parse(f"journal://{journal}")
    optuna.create_study(study_name="a", storage=address.open("a"))
    assert [json.loads(line)["op_code"] for line in journal.read_text().splitlines()] == [0]


@pytest.mark.parametrize("name", ["what?is=this", "feature%2Fnew", "a #b", "{SCHEMA_VERSION} {x}", "ünï;x&y=1"])
def test_a_path_may_hold_any_character(name: str, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / name, "a")
    journal = StorageAddress.parse(f"journal://{tmp_path}/{name}.journal")
    assert StorageAddress.parse(str(journal)) == journal
    folder.run.mkdir(parents=True)
    for address in (StorageAddress.of_file(folder.database_file), journal):
        with address.coordinating("a") as storage:
            optuna.create_study(study_name="a", storage=storage).set_user_attr("who", name)
        assert optuna.load_study(study_name="a", storage=address.open("a")).user_attrs == {"who": name}
        assert address.file is not None
        assert address.file.stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} >= {name, f"{name}.journal"}
    assert all(path.name.startswith(name) for path in tmp_path.iterdir())


def test_a_search_below_a_path_with_a_question_mark_stays_there(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "what?is%2Fthis #1", "a")
    outcome = _search(folder)
    assert folder.database_file.is_file()
    assert Store(folder).records() == outcome.records == _search(folder).records
    assert [path.name for path in tmp_path.iterdir()] == ["what?is%2Fthis #1"]


# PostgreSQL


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Postgres]:
    if why := postgres.missing():
        pytest.skip(why)
    pytest.importorskip("psycopg")
    with postgres.server() as running:
        yield running


@pytest.fixture
def no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))


@pytest.mark.usefixtures("no_password")
def test_a_password_goes_to_the_database_and_nowhere_else(
    database: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, watching = StudyFolder(tmp_path, "secret"), Watching()
    outcome = _search(folder, StorageAddress.parse(database.address), watching)
    assert len(outcome.records) >= 4
    text = "\n".join([*watching.said, *capfd.readouterr()])
    kept = [path.read_bytes() for path in folder.path.rglob("*") if path.is_file()]
    for secret in (postgres.PASSWORD, postgres.PLAIN_PASSWORD):
        assert secret not in text
        assert not any(secret.encode() in content for content in kept)
    assert json.loads(folder.settings_file.read_text())["storage"] == database.open_address
    with pytest.raises(
        StorageError, match=r"no password supplied; give it by PGPASSWORD, in ~/.pgpass, or give `storage` ag"
    ):
        Store(folder)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(StorageError, match='password authentication failed for user "nas"; give it by PGPASSWORD'):
        Store(folder)
    monkeypatch.setenv("PGPASSWORD", postgres.PLAIN_PASSWORD)
    assert Store(folder).records() == outcome.records
    monkeypatch.delenv("PGPASSWORD")
    assert _search(folder, StorageAddress.parse(database.address)).records == outcome.records


def test_a_second_machine_is_refused(database: postgres.Postgres) -> None:
    """The lock of the folder does not reach there; the database's does, and dies with its connection."""
    address = StorageAddress.parse(database.address)
    with address.coordinating("a"):
        busy = pytest.raises(BusyError, match="this study is being worked on elsewhere, perhaps on another machine")
        with busy, address.coordinating("a"):
            pass
        with address.coordinating("b"):
            pass
        assert address.open("a")  # to look at it
    with address.coordinating("a"):
        pass


def test_a_database_that_goes_away_and_comes_back(database: postgres.Postgres, tmp_path: Path) -> None:
    folder, address = StudyFolder(tmp_path, "away"), StorageAddress.parse(database.address)
    cut: list[bool] = []

    def restart(snapshot: Snapshot) -> None:
        if len(snapshot.records) == 2 and not cut:
            cut.append(True)
            database.stop()
            threading.Timer(1.5, database.start).start()

    watching = Watching(restart)
    outcome = _search(folder, address, watching)
    assert cut
    assert sum("trying again for 10 minutes" in text for text in watching.said) == 1
    assert sum(fate in ("completed", "stopped") for fate in _fates(outcome)) == 4
    os.environ["PGPASSWORD"] = postgres.PLAIN_PASSWORD
    try:
        assert Store(folder).records() == outcome.records
    finally:
        del os.environ["PGPASSWORD"]
