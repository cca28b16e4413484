"""Files that are read by another process, whatever they do there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sampled import difference, sampled_network

from nas.arch import Architecture, Block, Input, Pool, digest_of, lower
from nas.costs import costs_of
from nas.errors import VerificationError
from nas.export.python_module import write_python_module
from nas.verification.checks import verify_structure
from nas.verification.child import ChildExport

torch.set_num_threads(1)
SAMPLE = sampled_network(Architecture(Input(1, 8, 8), 3, (Block(4), Pool())), 0)
CLAIMS = {"dataset": "digits"}


@pytest.fixture
def module(tmp_path: Path) -> Path:
    write_python_module(SAMPLE.trained(), CLAIMS, tmp_path / "net.py")
    return tmp_path / "net.py"


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_it_answers_what_the_file_does(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder, whatever the file prints and asks for."""
    monkeypatch.setenv("NAS_STUDIES", "/secret")
    about = 'assert (os.listdir("."), os.environ.get("NAS_STUDIES")) == (["stderr"], None)'
    talk = 'import os\nprint("{}")\ntry:\n    input()\nexcept EOFError:\n    pass'
    edit(module, "INPUT_SHAPE =", f"{talk}\n{about}\nINPUT_SHAPE =")
    with ChildExport(module) as loaded:
        assert loaded.claims == CLAIMS
        assert loaded.class_names == SAMPLE.trained().class_names
        layers = lower(SAMPLE.architecture)
        assert loaded.derive() == {**costs_of(layers).counts(), "digest": digest_of(layers)}
        assert [check.claim for check in verify_structure(loaded)][-1] == "num_classes"
        images = SAMPLE.images.repeat(300, 1, 1, 1)
        assert difference(loaded.logits(images), SAMPLE.logits.repeat(300, 1)) < 1e-6
        counted = loaded.count_with_thop()
    assert counted is not None
    assert counted.thop_params == sum(p.numel() for p in SAMPLE.network.parameters())


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import os; os._exit(3)", r"net\.py cannot be read: the process that reads it ended with code 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("x = bytearray(2**33)", "does not run: MemoryError"),
    ],
)
def test_what_it_does_to_its_process_is_refused(module: Path, code: str, problem: str) -> None:
    edit(module, "INPUT_SHAPE =", f"{code}\nINPUT_SHAPE =")
    with pytest.raises(VerificationError, match=problem):
        ChildExport(module)


def test_what_never_ends_is_ended(module: Path) -> None:
    edit(module, "-> torch.Tensor:\n", "-> torch.Tensor:\n        while True:\n            pass\n")
    with ChildExport(module) as loaded:
        loaded._patience = 0.2
        with pytest.raises(VerificationError, match=r"took longer than 0 seconds; give a file as it was exported"):
            loaded.logits(SAMPLE.images)
