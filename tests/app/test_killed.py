"""kill -9 at random moments, on workers and on the coordinator: nothing lost, nothing twice, the exact total."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import postgres
import pytest
from optuna.trial import FrozenTrial

from nas.storage.address import StorageAddress
from nas.storage.optuna_records import fate_of
from nas.study.folder import StudyFolder
from nas.study.front import pareto_front
from nas.study.networks import network_file
from nas.study.records import last_epochs_mean

if TYPE_CHECKING:
    import subprocess

    from conftest import Nas

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")

NAME = "killed"
EPOCHS = 2
SMALL = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--epochs", EPOCHS, "--seeds", 1)


@pytest.fixture(params=["sqlite", "journal", "postgresql"])
def address(request: pytest.FixtureRequest, nas: Nas) -> Iterator[StorageAddress]:
    """Where the study keeps its trials."""
    if request.param == "sqlite":
        yield StorageAddress.of_file(nas.cwd / "studies" / NAME / "run/study.db")
    elif request.param == "journal":
        yield StorageAddress.parse(f"journal://{nas.cwd}/trials.journal")
    else:
        if why := postgres.missing():
            pytest.skip(why)
        pytest.importorskip("psycopg")
        with postgres.server() as running:
            yield StorageAddress.parse(running.address)


def start(nas: Nas, address: StorageAddress, trials: int) -> subprocess.Popen[str]:
    storage = () if address.url.startswith("sqlite") else ("--storage", address.url)
    arguments = (*SMALL, "--trials", trials, "--workers", 2, "--name", NAME, *storage, "--json")
    env = {"PGPASSWORD": address.password} if address.password else {}
    return nas.start("search", *arguments, env=env)


def stored(address: StorageAddress) -> tuple[dict[int, FrozenTrial], dict[str, Any]]:
    """The trials by number, and what is kept of the study; nothing before there is one."""
    if address.file is not None and not address.file.exists():
        return {}, {}
    storage = address.open(NAME)
    try:
        study = optuna.load_study(study_name=NAME, storage=storage)
        return {t.number: t for t in study.get_trials(deepcopy=False)}, study.user_attrs
    except KeyError:
        return {}, {}


def outcome(trial: FrozenTrial) -> tuple[Any, ...]:
    """All that a trial leaves behind."""
    return trial.state, trial.values, trial.params, trial.intermediate_values, trial.user_attrs


def finished(address: StorageAddress) -> dict[int, tuple[Any, ...]]:
    return {number: outcome(t) for number, t in stored(address)[0].items() if t.state.is_finished()}


def workers_of(session: int) -> list[int]:
    """The processes of the session that train."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(sid) == session and state != "Z" and b"spawn_main" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


def wait_until_gone(session: int) -> None:
    deadline = time.monotonic() + 30
    while workers_of(session):
        assert time.monotonic() < deadline, "a worker outlives its coordinator"
        time.sleep(0.05)


def kill_coordinator(nas: Nas, address: StorageAddress, trials: int, delay: float) -> bool:
    """Whether the search was still at work after `delay` seconds, when it was killed."""
    before = finished(address)
    process = start(nas, address, trials)
    with contextlib.suppress(Exception):
        process.wait(delay)
    hit = process.poll() is None
    process.kill()
    process.communicate()
    wait_until_gone(process.pid)
    after = finished(address)
    assert {number: after.get(number) for number in before} == before
    return hit


def kill_workers(nas: Nas, address: StorageAddress, trials: int, kills: int, rng: random.Random) -> int:
    """How many workers were killed before the search came to its end, to which it is left.

    Between two kills a network is trained: a search whose workers die ten times in a row ends, and rightly.
    """
    process, networks = start(nas, address, trials), nas.cwd / "studies" / NAME / "run/networks"
    done, trained = 0, -1
    while process.poll() is None and done < kills:
        time.sleep(rng.uniform(0.1, 1.0))
        training = workers_of(process.pid)
        if training and (now := len(list(networks.glob("*.safetensors")))) > trained:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(training), signal.SIGKILL)
                done, trained = done + 1, now
    ended = nas.finish(process, 600)
    assert ended.rc == 0, ended.err
    return done


def check(nas: Nas, address: StorageAddress, trials: int) -> None:
    """What must hold of the study, whatever happened to it."""
    found, kept = stored(address)
    assert list(found) == list(range(len(found)))
    by_fate: dict[str, list[FrozenTrial]] = {}
    for trial in found.values():
        assert trial.state.is_finished(), f"trial {trial.number} is {trial.state.name}"
        by_fate.setdefault(fate_of(trial), []).append(trial)
    assert by_fate.keys() <= {"completed", "stopped", "failed", "duplicate"}
    trained = [t for fate in ("completed", "stopped", "failed") for t in by_fate.get(fate, [])]
    assert len(trained) == trials
    networks = [(t.user_attrs["digest"], tuple(sorted((k, v) for k, v in t.params.items()))) for t in trained]
    assert len(set(networks)) == len(networks), "a network was trained twice"
    for trial in by_fate["completed"]:
        assert sorted(trial.intermediate_values) == list(range(1, EPOCHS + 1))
        assert trial.value == last_epochs_mean(tuple(trial.intermediate_values.values()))
        assert network_file(StudyFolder(nas.cwd / "studies", NAME), trial.number).stat().st_size > 0
    secret = {"PGPASSWORD": address.password} if address.password else {}
    replayed = nas("replay", NAME, "--json", env=secret).json
    assert replayed["difference"] is None
    assert replayed["draws"] >= len(found) - replayed["not_logged"]
    status = nas("status", NAME, "--json", env=secret).json
    assert status["trials"] == {fate: len(those) for fate, those in by_fate.items()}
    confirmed = {int(k.split(":")[1]): v["test_accuracy"] for k, v in kept.items() if k.startswith("confirmation:")}
    size = {number: trial.user_attrs["num_params"] for number, trial in found.items()}
    tested = pareto_front(sorted(confirmed), size.__getitem__, lambda n: last_epochs_mean(tuple(confirmed[n])))
    validated = pareto_front(by_fate["completed"], lambda t: size[t.number], lambda t: t.value or 0.0)
    front = {*tested, *(t.number for t in validated if t.number not in confirmed)}
    assert {row["trial"] for row in status["front"]} == front


@pytest.mark.parametrize(
    "address",
    ["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("journal", "postgresql"))],
    indirect=True,
)
def test_a_killed_coordinator_and_a_killed_worker_lose_nothing(nas: Nas, address: StorageAddress) -> None:
    process, networks = start(nas, address, 6), nas.cwd / "studies" / NAME / "run/networks"
    for count, kill in ((1, lambda: os.kill(workers_of(process.pid)[0], signal.SIGKILL)), (2, process.kill)):
        while len(list(networks.glob("*.safetensors"))) < count:
            assert process.poll() is None
            time.sleep(0.05)
        kill()
    process.communicate()
    wait_until_gone(process.pid)
    before = finished(address)
    secret = {"PGPASSWORD": address.password} if address.password else {}
    resumed = nas("search", "--name", NAME, "--workers", 1, env=secret)
    assert resumed.rc == 0, resumed.err
    after = finished(address)
    assert {number: after[number] for number in before} == before
    check(nas, address, 6)


@pytest.mark.slow
def test_twenty_kills_of_each_lose_nothing(nas: Nas, address: StorageAddress) -> None:
    rng = random.Random(0)
    trials, kills, began = 200, 20, time.monotonic()  # trials enough that a quick machine has some left to kill
    hits = [kill_coordinator(nas, address, trials, rng.uniform(0.5, 12)) for _ in range(kills)]
    after_coordinators = len(finished(address))
    killed = kill_workers(nas, address, trials, kills, rng)
    check(nas, address, trials)
    report = {"coordinators": sum(hits), "finished then": after_coordinators, "workers": killed}
    print(json.dumps(report | {"seconds": round(time.monotonic() - began)}))
    assert sum(hits) == kills
    assert killed == kills


@pytest.mark.slow
@pytest.mark.parametrize("held_up", ["worker", "coordinator"])
def test_a_process_that_is_held_up_for_a_minute_loses_nothing(held_up: str, nas: Nas, address: StorageAddress) -> None:
    process = start(nas, address, 60)
    log = StudyFolder(nas.cwd / "studies", NAME).log_file  # begun once the storage has its tables
    while not (log.exists() and finished(address)):
        time.sleep(0.1)
        assert process.poll() is None
    stopped = process.pid if held_up == "coordinator" else workers_of(process.pid)[0]
    os.kill(stopped, signal.SIGSTOP)
    before = len(finished(address))
    time.sleep(60)
    assert process.poll() is None
    assert held_up == "coordinator" or len(finished(address)) > before, "the other worker went on"
    os.kill(stopped, signal.SIGCONT)
    assert nas.finish(process, 600).rc == 0
    check(nas, address, 60)


@pytest.mark.slow
@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_a_study_that_is_moved_between_runs_loses_nothing(nas: Nas, address: StorageAddress) -> None:
    rng = random.Random(1)
    for place in ("first", "second", "third"):
        kill_coordinator(nas, address, 40, rng.uniform(4, 10))
        elsewhere = nas.cwd.with_name(place)
        nas.cwd.rename(elsewhere)
        nas.cwd = elsewhere
        address = StorageAddress.of_file(nas.cwd / "studies" / NAME / "run/study.db")
    assert nas.finish(start(nas, address, 40), 600).rc == 0
    check(nas, address, 40)
