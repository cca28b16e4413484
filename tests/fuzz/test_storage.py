"""Damaged databases and journals: their bytes, and what they hold."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from mutations import COUNT, SEED, mutate, mutations, only_nas_errors
from simulated_searches import IMAGES, SETTINGS, SPACE, rising

from nas.app.look import read_records
from nas.coordinator.coordinator import Coordinator
from nas.report.document import study_document
from nas.report.front_svg import front_svg
from nas.storage.address import StorageAddress, address_of
from nas.storage.study_store import SearchStore
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
    trials_table(records).to_csv()


@pytest.fixture(params=["sqlite", "journal"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> StudyFolder:
    """A study of three simulated trials, one of them confirmed, in a file."""
    folder = StudyFolder(tmp_path, "study")
    journal = StorageAddress.parse(f"journal://{tmp_path}/trials.log")
    storage = journal.url if request.param == "journal" else None
    folder.create(StudyDocument(SETTINGS, Fingerprints("0" * 16, "1" * 16), storage=storage, images=IMAGES), "")
    sampler = BudgetSampler(SPACE, SETTINGS.budget, 0)
    simulation = Simulation(rising)
    with address_of(folder).coordinating("study") as opened:
        store = SearchStore(folder, distributions_of(SPACE), sampler, ParetoPruner(SPACE, 1), opened)
        pool = WorkerPool(simulation.workers)
        Coordinator(store, sampler, SETTINGS, IMAGES, pool, [], simulation.interrupts, simulation.clock).run()
    look(folder)
    return folder


def test_bytes(study: StudyFolder) -> None:
    file = address_of(study).file
    assert file is not None
    whole = file.read_bytes()

    def read(content: bytes) -> None:
        for beside in file.parent.glob(f"{file.name}-*"):
            beside.unlink()
        file.write_bytes(content)
        look(study)

    only_nas_errors(mutations([whole]), read)


@pytest.mark.parametrize("study", ["sqlite"], indirect=True)
def test_what_a_database_holds(study: StudyFolder) -> None:
    file = study.database_file
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("pragma journal_mode = delete")
        tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
        cells = [
            (table, column[1])
            for table in tables
            for column in connection.execute(f"pragma table_info({table})")
            if connection.execute(f"select count(*) from {table}").fetchone()[0]
        ]
    whole = file.read_bytes()

    def inputs() -> Iterator[bytes]:
        rng = random.Random(SEED)
        for _ in range(COUNT):
            file.write_bytes(whole)
            table, column = rng.choice(cells)
            with closing(sqlite3.connect(file)) as connection:
                rows = [row[0] for row in connection.execute(f"select rowid from {table}")]
                row = rng.choice(rows)
                (before,) = connection.execute(f"select {column} from {table} where rowid = ?", (row,)).fetchone()
                text = mutate(rng, str(before).encode(), [str(before).encode()]).decode(errors="replace")
                after = rng.choice([text, text, None, -1, 10**18, 1e308, float("inf"), b"\xff", "", "[]"])
                try:
                    connection.execute(f"update {table} set {column} = ? where rowid = ?", (after, row))
                except sqlite3.IntegrityError:
                    connection.execute(f"delete from {table} where rowid = ?", (row,))
                connection.commit()
            yield file.read_bytes()

    only_nas_errors(inputs(), lambda _: look(study))


optuna.logging.set_verbosity(optuna.logging.ERROR)
