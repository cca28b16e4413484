"""Ray, really started on this machine, with two workers: killed, interrupted, and refused."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from app import test_killed as killed

from nas.errors import DeviceError, StudyError, UsageError
from nas.storage.address import StorageAddress
from nas.workers import ray_actors, ray_keeper

if TYPE_CHECKING:
    from conftest import Nas

needs_ray = pytest.mark.usefixtures("ray_installed")
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")

TRIALS = 60  # enough for an actor to be killed while it trains, and for some trials to be stopped
LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")  # as in /proc/net


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files; its path is short, for the sake of Ray's sockets."""
    path = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def start(nas: Nas, folder: Path, address: str = "local", **env: str) -> subprocess.Popen[str]:
    arguments = (*killed.SMALL, "--trials", TRIALS, "--workers", 2, "--name", killed.NAME, "--cluster", address)
    return nas.start("search", *arguments, "--json", env={"TMPDIR": str(folder), **env})


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def weights(nas: Nas) -> list[Path]:
    return list(nas.cwd.glob(f"studies/{killed.NAME}/run/weights/*.pt"))


def processes() -> dict[int, int]:
    """The parent of each process that runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(entry.name)] = int(parent)
    return found


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    parents, found = processes(), {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def actors(pids: set[int]) -> list[int]:
    return [pid for pid in pids if b"TrainerActor" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def listening(pids: set[int]) -> list[str]:
    """The addresses, in /proc's hexadecimal, at which the processes accept connections."""
    links = [os.readlink(link) for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
    inodes = {match[1] for link in links if (match := re.fullmatch(r"socket:\[(\d+)\]", link))}
    rows = [row.split() for file in ("tcp", "tcp6") for row in Path(f"/proc/net/{file}").read_text().splitlines()[1:]]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]


@needs_ray
@needs_proc
def test_a_killed_coordinator_and_killed_actors_lose_nothing(nas: Nas, folder: Path) -> None:
    process = start(nas, folder)
    wait_for(lambda: weights(nas))
    all_of_it = family(process.pid)
    assert len(actors(all_of_it)) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not all_of_it & processes().keys(), 20)
    assert list(folder.glob("nas-ray-*")) == []
    finished = len(weights(nas))

    process = start(nas, folder)
    wait_for(lambda: len(weights(nas)) > finished)
    for actor in actors(family(process.pid)):  # of two, one is surely at work
        os.kill(actor, signal.SIGKILL)
    ended = nas.finish(process)
    assert ended.rc == 0, ended.err
    assert ended.json["study"] == killed.NAME  # Ray writes nothing beside it
    assert ended.json["trials"].get("stopped", 0) > 0, "no trial was pruned"
    assert "is trained again: the actor died" in ended.err
    killed.check(nas, StorageAddress.of_file(nas.cwd / f"studies/{killed.NAME}/run/study.db"), TRIALS)


@needs_ray
@needs_proc
def test_an_interrupt_leaves_nothing_behind_and_nothing_listened_beyond_loopback(nas: Nas, folder: Path) -> None:
    process = start(nas, folder)
    wait_for(lambda: weights(nas))
    all_of_it = family(process.pid)
    where = listening(all_of_it)
    assert len(where) >= 5  # Ray's server, its store and manager, two actors
    assert set(where) <= set(LOOPBACK)
    os.killpg(process.pid, signal.SIGINT)
    ended = nas.finish(process)
    assert ended.rc == 130, ended.err
    assert re.fullmatch(
        r"new study .*\n2 Ray workers, 1 CPU each\n(first trials .*\n|trial.*\n|\d.*\n)*interrupted; .*\n", ended.err
    )
    assert not all_of_it & processes().keys()
    assert list(folder.glob("nas-ray-*")) == []
    assert "running" not in nas("status", killed.NAME, "--json").json["trials"]


@needs_ray
def test_a_machine_with_another_nas_is_refused(nas: Nas, folder: Path) -> None:
    shutil.copytree(Path(ray_actors.__file__).parents[1], folder / "other/nas")
    with (folder / "other/nas/errors.py").open("a") as file:
        file.write("# changed\n")
    access = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
    }
    keeper = subprocess.Popen(
        [sys.executable, "-P", ray_keeper.__file__, "2", str(80 * 2**20)],
        env={**os.environ, **access, "TMPDIR": str(folder), "PYTHONPATH": str(folder / "other")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with keeper:
        assert keeper.stdout is not None
        address = keeper.stdout.readline().strip()
        ended = nas.finish(start(nas, folder, address, **access))
    assert ended.rc == 1
    assert f"error: a machine of the Ray cluster cannot train: {socket.gethostname()}: it has nas " in ended.err
    assert ended.err.endswith("; see that it has the same nas\n")


@needs_ray
def test_an_address_where_nothing_answers_is_refused_at_once(nas: Nas, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    ended = nas.finish(start(nas, folder, f"127.0.0.1:{port}"))
    assert ended.rc == 1
    assert f"error: --cluster 127.0.0.1:{port}: nothing answers there" in ended.err
    assert time.monotonic() - began < 30


def test_without_ray_the_error_says_what_to_install(nas: Nas) -> None:
    code = "import sys; sys.modules['ray'] = None; import nas.cli; nas.cli.main()"
    arguments = ["search", *map(str, killed.SMALL), "--cluster", "local"]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=nas.cwd, capture_output=True, text=True)
    assert ended.returncode == 2
    assert ended.stderr.endswith("error: --cluster needs Ray, which is not installed; pip install 'nas-budget[ray]'\n")


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.parametrize(
    ("address", "device", "error", "text"),
    [
        ("ray://head:10001", "auto", UsageError, "--cluster 'ray://head:10001': give HOST:PORT, auto or local; "),
        ("", "auto", UsageError, "--cluster '': give HOST:PORT"),
        ("local", "cuda:1", DeviceError, "--device cuda:1: a cluster hands out its GPUs itself; use auto, cpu or cuda"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(address: str, device: str, error: type, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        ray_actors.check_cluster(address, device)


def test_an_actor_of_another_version_does_not_train() -> None:
    with pytest.raises(StudyError, match=r"it has nas .*, and the search runs with another"):
        ray_actors.trainer_of_actor("another", {}, {}, False, None)
