from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from forked_command import run_forked
from hypothesis import HealthCheck, settings
from optuna.trial import TrialState

from nas.arch.kinds import KINDS

# How fast examples are drawn depends on what else the machine does.
settings.register_profile("any_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_machine")

COMMAND = Path(sys.executable).with_name("nas")  # not resolved: a virtual environment's python is a link
DIGITS = ("--dataset", "digits", "--space", "tiny_digits", "--max-params", "2000")
STUDY_TRIALS = 12  # of the shared study: enough that one of its front is not confirmed
COMPILED = Path(tempfile.gettempdir()) / f"nas-tests-kernels-{os.getuid()}"
NOWHERE = "http://127.0.0.1:9"  # refuses at once
NO_NETWORK = {key: NOWHERE for name in ("http_proxy", "https_proxy", "all_proxy") for key in (name, name.upper())}

# Kernels for a GPU are computed on the CPU here. Triton reads this when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"

# A shell has what it runs in the background ignore Ctrl-C, and every command under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def own_kinds() -> Iterator[None]:
    """Forgets the kinds of blocks that a test registers."""
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


@dataclass(frozen=True)
class Finished:
    """What an ended command left behind."""

    rc: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output; anything more there is an error."""
        return json.loads(self.out)


class Nas:
    """Runs the installed command as a user does, with nothing of this process's settings but what a test gives."""

    def __init__(self, cwd: Path, home: Path) -> None:
        self.cwd = cwd
        # One for all tests: compiling the kernels takes longer than most of them.
        cache = home / ".cache" / "nas"
        cache.mkdir(parents=True, exist_ok=True)
        COMPILED.mkdir(exist_ok=True)
        if not (cache / "native").exists():
            (cache / "native").symlink_to(COMPILED)
        removed = ("NAS_", "no_proxy", "NO_PROXY", "PYTHONPATH", "PYTHONUNBUFFERED")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(removed)}
        self._environment = kept | {
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "COLUMNS": "200",  # one line a message
            "OMP_NUM_THREADS": "1",  # two threads that fight for a busy core take ten times as long
            "PYTHONWARNINGS": "error",
        }

    def __call__(self, *arguments: object, env: dict[str, str] | None = None, timeout: float = 120) -> Finished:
        """Runs to the end. A traceback is never what a user should see.

        What the interpreter itself reads as it starts is heeded by a command that is started anew.
        """
        environment = env or {}
        if any(name.startswith(("PYTHON", "LANG", "LC_")) for name in environment):
            return self.finish(self.start(*arguments, env=env), timeout)
        finished = Finished(*run_forked([*map(str, arguments)], self.cwd, self._environment | environment, timeout))
        assert "Traceback" not in finished.err, finished.err
        return finished

    def start(self, *arguments: object, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """Starts the command in a session of its own.

        A test may send it a signal, which may come between a file's opening and its `with`: Python then says that it
        was not closed.
        """
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=self.cwd,
            env=self._environment | {"PYTHONWARNINGS": "error,ignore::ResourceWarning"} | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(self, process: subprocess.Popen[str], timeout: float = 120) -> Finished:
        """What the process leaves behind; killed with all that it started where it takes too long."""
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        assert "Traceback" not in err, err
        return Finished(process.returncode, out, err)


@pytest.fixture
def nas(tmp_path: Path) -> Nas:
    """The installed command, run in an empty folder."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    return Nas(cwd, tmp_path / "home")


@pytest.fixture(scope="session")
def no_network() -> dict[str, str]:
    """An environment in which every download is refused."""
    return NO_NETWORK


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the real MNIST."""
    folder = os.environ.get("NAS_DATA_DIR", "")
    raw = Path(folder) / "MNIST" / "raw"
    if not folder or not any(raw.glob("train-images-idx3-ubyte*")):
        missing = "$NAS_DATA_DIR names no folder with MNIST/raw"
        # Where the real data belong, as in CI, their absence must not pass for success.
        if os.environ.get("NAS_REQUIRE_MNIST") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    return Path(folder)


@pytest.fixture(scope="session")
def ray_installed() -> None:
    """Skips the test where Ray is missing, which is an extra."""
    if find_spec("ray") is None:
        if os.environ.get("NAS_REQUIRE_RAY") == "1":
            pytest.fail("Ray is not installed")
        pytest.skip("Ray is not installed; pip install 'nas-budget[ray]'")


@dataclass(frozen=True)
class Study:
    """A study 'small' below `nas.cwd / 'studies'`, and what the search that made it left behind."""

    nas: Nas
    search: Finished

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.nas.cwd / "studies" / "small"

    def add_trial(self, fate: str, state: TrialState, epochs: int) -> int:
        """Add the network of the first completed trial again, cut off after some epochs; return the trial's number."""
        stored = optuna.load_study(study_name="small", storage=f"sqlite:///{self.path / 'run/study.db'}")
        like = next(trial for trial in stored.trials if trial.state == TrialState.COMPLETE)
        stored.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=None if epochs == 0 else like.intermediate_values[1],
                params=like.params,
                distributions=like.distributions,
                user_attrs=like.user_attrs | {"fate": fate, "train_seconds": float(epochs)},
                intermediate_values={epoch: like.intermediate_values[epoch] for epoch in range(1, epochs + 1)},
            )
        )
        return len(stored.trials) - 1


@pytest.fixture(scope="session")
def digits_study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """One small finished search, shared by all tests: look, and leave it as it is.

    The first of pytest's processes that wants it makes it for all, and each has a copy.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made"
    with open(made.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            folder = tmp_path_factory.mktemp("making")
            arguments = f"--trials {STUDY_TRIALS} --epochs 3 --seeds 2 --workers 1 --name small --json".split()
            search = Nas(folder, folder / "home")("search", *DIGITS, *arguments, timeout=300)
            assert search.rc == 0, search.err
            (folder / "search.json").write_text(json.dumps(asdict(search)))
            folder.rename(made)
    folder = tmp_path_factory.mktemp("digits")
    shutil.copytree(made / "studies", folder / "studies")
    nas, search = Nas(folder, folder / "home"), Finished(**json.loads((made / "search.json").read_text()))
    yield Study(nas, search)
    status = nas("status", "small", "--json")
    assert status.json == search.json, "a test has changed the shared study"


@pytest.fixture
def study_copy(digits_study: Study, tmp_path: Path) -> Study:
    """A copy of the shared study, to do with as a test likes."""
    shutil.copytree(digits_study.nas.cwd / "studies", tmp_path / "cwd" / "studies")
    return Study(Nas(tmp_path / "cwd", tmp_path / "home"), digits_study.search)
