"""Damaged databases and journals: their bytes, and what they hold."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from fuzzing import fuzz, mutate, mutated, spoil_json
from simulated_searches import IMAGES, SETTINGS, SPACE, rising

from nas.app.look import read_records
from nas.coordinator import coordinator
from nas.coordinator.coordinator import Coordinator
from nas.report.document import study_document
from nas.report.front_svg import front_svg
from nas.report.gene_effects import gene_effects
from nas.storage.address import StorageAddress, address_of
from nas.storage.search_store import SearchStore
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, distributions_of
from nas.study.folder import Fingerprints, StudyDocument, StudyFolder
from nas.study.tables import trials_table
from nas.terminal.front_plot import front_plot
from nas.workers.pool import WorkerPool
from nas.workers.simulated import Simulation


def look(folder: StudyFolder) -> None:
    """Do what `status` and `report` do with the trials."""
    records = read_records(folder)
    study_document(folder.name, SETTINGS, records)
    front_plot(records, SETTINGS)
    front_svg(records, SETTINGS)
    gene_effects(records * 10)
    trials_table(records).to_csv()


def search(folder: StudyFolder, trials: int) -> None:
    """Begin the study, or go on with it."""
    settings = replace(SETTINGS, max_trials=trials)
    sampler = BudgetSampler(SPACE, SETTINGS.budget, 0)
    simulation = Simulation(rising)
    with address_of(folder).coordinating("study") as opened:
        store = SearchStore(folder, distributions_of(SPACE), sampler, ParetoPruner(SPACE, 1), opened)
        pool = WorkerPool(simulation.workers)
        Coordinator(store, sampler, settings, IMAGES, pool, [], simulation.interrupts, simulation.clock).run()


@pytest.fixture(params=["sqlite", "journal"])
def study(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study of three simulated trials, one of them confirmed, in a file."""
    monkeypatch.setattr(coordinator, "STORAGE_PATIENCE", 0.0)  # no disk will get room here
    folder = StudyFolder(tmp_path, "study")
    journal = StorageAddress.parse(f"journal://{tmp_path}/trials.log")
    storage = journal.url if request.param == "journal" else None
    folder.create(StudyDocument(SETTINGS, Fingerprints("0" * 16, "1" * 16), storage=storage, images=IMAGES), "")
    search(folder, 3)
    look(folder)
    return folder


def remove_logs(file: Path) -> None:
    for beside in file.parent.glob(f"{file.name}-*"):
        beside.unlink()


def test_bytes(study: StudyFolder) -> None:
    file = address_of(study).file
    assert file is not None

    def read(_: bytes) -> None:
        remove_logs(file)
        look(study)

    fuzz(read, mutated([file.read_bytes()]), 150, file)


def damaged(value: Any, rng: random.Random) -> Any:
    """Return another value for a cell of a database."""
    text = str(value).encode()
    if text[:1] in (b"{", b"[") and rng.random() < 0.7:
        return spoil_json(text, rng).decode()
    mutation = mutate(text, rng).decode(errors="replace")
    return rng.choice([mutation, mutation, None, -1, 2, 10**18, 1e308, float("inf"), b"\xff", "", "[]", "1.5"])


@pytest.mark.parametrize("study", ["sqlite"], indirect=True)
def test_what_a_database_holds(study: StudyFolder) -> None:
    file = study.database_file
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma journal_mode = delete")
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        cells = {
            table: [(column[1], row[0]) for row in rows for column in connection.execute(f"pragma table_info({table})")]
            for table in tables
            if (rows := connection.execute(f"select rowid from {table}").fetchall())
        }
    whole = file.read_bytes()

    def make(rng: random.Random) -> bytes:
        remove_logs(file)
        file.write_bytes(whole)
        table = rng.choice([*cells])
        column, row = rng.choice(cells[table])
        with closing(sqlite3.connect(file)) as connection:
            (before,) = connection.execute(f"select {column} from {table} where rowid = ?", (row,)).fetchone()
            try:
                connection.execute(f"update {table} set {column} = ? where rowid = ?", (damaged(before, rng), row))
            except sqlite3.IntegrityError:
                connection.execute(f"delete from {table} where rowid = ?", (row,))
            connection.commit()
        return file.read_bytes()

    def use(_: bytes) -> None:
        look(study)
        search(study, 4)

    fuzz(use, make, 30, file)


@pytest.mark.parametrize("study", ["journal"], indirect=True)
def test_what_a_journal_holds(study: StudyFolder) -> None:
    file = address_of(study).file
    assert file is not None
    lines = [json.dumps(json.loads(line), separators=(",", ":")) for line in file.read_text().splitlines()]

    def make(rng: random.Random) -> bytes:
        at = rng.randrange(len(lines))
        spoilt = spoil_json(lines[at].encode(), rng).decode()
        return "".join(f"{line}\n" for line in (*lines[:at], spoilt, *lines[at + 1 :])).encode()

    def use(_: bytes) -> None:
        look(study)
        search(study, 4)

    fuzz(use, make, 30, file)


optuna.logging.set_verbosity(optuna.logging.ERROR)
