"""Ray, really started for these tests, with two workers: killed, interrupted, and refused."""

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
from nas.workers import ray_actors
from nas.workers.ray_connection import connect

if TYPE_CHECKING:
    from conftest import Nas

TRIALS = 16  # enough for an actor to be killed while it trains

# Ray replaces 127.0.0.1 by an address that others reach. With the first setting, made for other systems, it stays on
# the loopback interface; the token keeps out the other users of this machine.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 2,
}
START = "start --head --block --node-ip-address=127.0.0.1 --num-cpus=2 --include-dashboard=false --disable-usage-stats"


@pytest.fixture(scope="session")
def cluster(ray_installed: None) -> Iterator[str]:
    """The address of a Ray cluster with two cores, on this machine, for all tests here."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("processes are looked up in /proc")
    # A short path, for the sake of Ray's sockets.
    folder = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "ray.scripts.scripts", *START.split(), f"--port={port}", f"--temp-dir={folder}"]
    with (folder / "output").open("w") as output:
        ray = subprocess.Popen(
            [*command, f"--object-store-memory={100 * 2**20}"],
            env={**os.environ, **RAY_ENVIRONMENT, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_for(lambda: "Ray runtime started" in (folder / "output").read_text() or ray.poll() is not None)
        assert ray.poll() is None, (folder / "output").read_text()
        yield f"127.0.0.1:{port}"
    finally:
        for pid in in_session(ray.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ray.wait()
        shutil.rmtree(folder, ignore_errors=True)


def in_session(session: int) -> list[int]:
    """The processes of a session."""
    return [pid for pid, (_, sid) in processes().items() if sid == session]


def start(nas: Nas, address: str, **env: str) -> subprocess.Popen[str]:
    arguments = (*killed.SMALL, "--trials", TRIALS, "--workers", 2, "--name", killed.NAME, "--cluster", address)
    return nas.start("search", *arguments, "--json", env={**RAY_ENVIRONMENT, **env})


def wait_for(what: Callable[[], object], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def networks(nas: Nas) -> list[Path]:
    return list(nas.cwd.glob(f"studies/{killed.NAME}/run/networks/*.safetensors"))


def processes() -> dict[int, tuple[str, int]]:
    """The name and the session of each process that runs."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state != "Z":
                    found[int(entry.name)] = (entry / "cmdline").read_text(errors="replace"), int(session)
    return found


def actors() -> list[int]:
    return [pid for pid, (name, _) in processes().items() if name.startswith("ray::TrainerActor")]


def test_a_killed_coordinator_and_killed_actors_lose_nothing(nas: Nas, cluster: str) -> None:
    process = start(nas, cluster)
    wait_for(lambda: networks(nas))
    assert len(actors()) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not actors(), 20)
    finished = len(networks(nas))

    process = start(nas, cluster)
    wait_for(lambda: len(networks(nas)) > finished)
    for actor in actors():  # of two, one is surely at work
        os.kill(actor, signal.SIGKILL)
    ended = nas.finish(process)
    assert ended.rc == 0, ended.err
    assert ended.json["study"] == killed.NAME  # Ray writes nothing beside it
    assert "is trained again: the actor died" in ended.err
    killed.check(nas, StorageAddress.of_file(nas.cwd / f"studies/{killed.NAME}/run/study.db"), TRIALS)


def test_an_interrupt_leaves_nothing_behind(nas: Nas, cluster: str) -> None:
    process = start(nas, cluster)
    wait_for(lambda: networks(nas))
    os.killpg(process.pid, signal.SIGINT)
    ended = nas.finish(process)
    assert ended.rc == 130, ended.err
    assert re.fullmatch(
        r"new study .*\n.* training images .*\n.* linear classifier .*\nno target .*\n2 Ray workers, 1 CPU each\n"
        r"(first trials .*\n|trial.*\n|\d.*\n)*interrupted; .*\n",
        ended.err,
    )
    assert in_session(process.pid) == []
    wait_for(lambda: not actors(), 20)
    assert "running" not in nas("status", killed.NAME, "--json").json["trials"]


def test_a_machine_with_another_nas_is_refused(nas: Nas, cluster: str, tmp_path: Path) -> None:
    """Here the search has another one than the machine."""
    package = Path(ray_actors.__file__).parents[1]
    shutil.copytree(package, tmp_path / "other/nas")
    for data in ("search_spaces", "studies"):
        (tmp_path / "other" / data).symlink_to(package.parent / data)
    with (tmp_path / "other/nas/kernels/c/chain.c").open("a") as file:
        file.write("// changed\n")
    ended = nas.finish(start(nas, cluster, PYTHONPATH=str(tmp_path / "other")))
    assert ended.rc == 1
    assert f"error: a machine of the Ray cluster cannot train: {socket.gethostname()}: it has nas " in ended.err
    assert ended.err.endswith("; see that it has the same nas\n")


@pytest.mark.usefixtures("ray_installed")
def test_an_address_where_nothing_answers_is_refused_before_ray_tries_for_a_minute() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    text = f"`cluster` 127.0.0.1:{port}: nothing answers there"
    with (
        pytest.raises(StudyError, match=rf"^{text} .*; start a cluster with: ray start --head$"),
        connect(f"127.0.0.1:{port}"),
    ):
        pass


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"^`cluster` needs Ray, .*; pip install 'nas-budget\[ray\]'$"):
        ray_actors.check_cluster("auto", "auto")


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.parametrize(
    ("address", "device", "error", "text"),
    [
        ("ray://head:10001", "auto", UsageError, "`cluster` 'ray://head:10001': give HOST:PORT or auto; "),
        ("", "auto", UsageError, "`cluster` '': give HOST:PORT"),
        ("local", "auto", UsageError, "`cluster` 'local': there is no such cluster; leave `cluster` out to train on "),
        ("local", "auto", UsageError, "or start one here with `ray start --head` and give 'auto'"),
        ("auto", "cuda:1", DeviceError, "`device` cuda:1: a cluster hands out its GPUs itself; use auto, cpu or cuda"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(address: str, device: str, error: type, text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        ray_actors.check_cluster(address, device)


def test_an_actor_of_another_version_does_not_train() -> None:
    with pytest.raises(StudyError, match=r"it has nas .*, and the search runs with another"):
        ray_actors.trainer_of_actor("another", {}, {}, (), False, None)


def test_another_file_of_the_package_is_another_nas(tmp_path: Path) -> None:
    (tmp_path / "kernels/c").mkdir(parents=True)
    kernels = tmp_path / "kernels/c/chain.c"
    kernels.write_text("int a;")
    before = ray_actors.digest_files(tmp_path)
    (tmp_path / "kernels/__pycache__").mkdir()
    (tmp_path / "kernels/__pycache__/engine.pyc").write_bytes(b"compiled")
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces/mine.toml").write_text("")
    assert ray_actors.digest_files(tmp_path) == before
    kernels.write_text("int b;")
    assert ray_actors.digest_files(tmp_path) != before
