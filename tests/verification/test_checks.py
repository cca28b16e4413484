from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Recipe, digest_of, lower
from nas.costs import costs_of
from nas.errors import VerificationError
from nas.export.python_module import load_python_module
from nas.model.build import build
from nas.model.python_source import module_source
from nas.model.trace import trace_layers
from nas.verification.checks import verify_structure

PLAIN = Architecture(Input(3, 32, 32), 10, (Block(8), Pool()))
RESIDUAL = Architecture(
    Input(3, 32, 32),
    10,
    (
        Block(8),
        Block(12, kind="separable", stride=2, shortcut="projection", norm_act=NormAct(functional=True)),
        Block(12, shortcut="identity", repeat=3, norm_act=NormAct(activation="silu", dropout=0.2)),
    ),
    Head("conv_gap", kernel=3, padding="same"),
)


def claims_of(architecture: Architecture) -> dict[str, object]:
    layers = lower(architecture)
    costs = costs_of(layers)
    return {
        "num_params": costs.num_params,
        "num_macs": costs.num_macs,
        "peak_activation_bytes": costs.peak_activation_bytes,
        "digest": digest_of(layers),
    }


def text_of(architecture: Architecture, class_name: str = "Net", weights_name: str | None = "net.pt") -> str:
    return module_source(
        architecture,
        class_name=class_name,
        provenance="Made by a test.",
        claims=claims_of(architecture),
        weights_name=weights_name,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        class_names=tuple("abcdefghij"),
        recipe=Recipe(),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(text_of(RESIDUAL))
    torch.save(build(RESIDUAL).state_dict(), tmp_path / "net.pt")
    return path


def edit(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_what_it_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)  # so that a cache would be seen below
    exported = load_python_module(path)
    assert (exported.path, exported.trained, exported.input_shape) == (path, True, (3, 32, 32))
    assert (exported.metadata.mean, exported.metadata.std) == ((0.5,) * 3, (0.25,) * 3)
    assert exported.class_names == tuple("abcdefghij")
    assert dict(exported.claims) == claims_of(RESIDUAL)
    assert not exported.net.training
    assert [check.claim for check in verify_structure(exported)] == [*claims_of(RESIDUAL), "num_classes"]
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.pt", "net.py"]


def test_a_wrong_or_missing_claim_does_not_hold(path: Path) -> None:
    derived = claims_of(RESIDUAL)
    edit(path, f'"num_params": {derived["num_params"]},', '"num_params": 7,')
    edit(path, f'    "num_macs": {derived["num_macs"]},\n', "")
    checks = {check.claim: check for check in verify_structure(load_python_module(path))}
    assert (checks["num_params"].claimed, checks["num_params"].derived) == (7, derived["num_params"])
    assert (checks["num_macs"].claimed, checks["num_macs"].derived) == (None, derived["num_macs"])
    assert [name for name, check in checks.items() if check.holds] == ["peak_activation_bytes", "digest", "num_classes"]


def test_an_edited_network_loses_its_digest(path: Path) -> None:
    # It has the same size as before, and perhaps the same time: a bytecode cache would stand in for it.
    assert all(check.holds for check in verify_structure(load_python_module(path)))
    edit(path, "nn.Dropout(0.2)", "nn.Dropout(0.3)")
    assert [c.claim for c in verify_structure(load_python_module(path)) if not c.holds] == ["digest"]


def test_a_network_outside_the_vocabulary_is_refused(path: Path) -> None:
    edit(path, "nn.SiLU()", "nn.Softplus()")
    with pytest.raises(VerificationError, match=r"node 'tail3\.0': Softplus is no layer that nas knows"):
        verify_structure(load_python_module(path))


def test_an_untrained_export_has_a_fresh_network(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(text_of(PLAIN, class_name="Other", weights_name=None))
    exported = load_python_module(path)
    assert (exported.trained, type(exported.net).__name__, exported.net.training) == (False, "Other", False)
    assert digest_of(trace_layers(exported.net, exported.input_shape)) == digest_of(lower(PLAIN))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("class Tiny", "class class Tiny", "is not valid Python: invalid syntax"),
        ("import torch\n", "import torch\nraise SystemExit(3)\n", "does not run: SystemExit: 3"),
        ("import torch\n", "import torch_that_is_not_there\n", "does not run: ModuleNotFoundError"),
        ("CLAIMS", "CLAIM", "does not define CLAIMS, a dict; give a module that `nas export` wrote"),
        ("INPUT_SHAPE = (3, 32, 32)", "INPUT_SHAPE = (32, 32)", r"INPUT_SHAPE is \(32, 32\) and must be"),
        ("MEAN = (0.5, 0.5, 0.5)", "MEAN = 0.5", "has a float as MEAN, a tuple"),
        ("STD = (0.25, 0.25, 0.25)", "STD = (0.25,)", r"STD is \(0.25,\) and must be 3 numbers"),
        ('CLASSES = ("a", ', "CLASSES = (1, ", "CLASSES is .* and must be names"),
        ("return net.eval()", "return 1", r"load_trained\(\) returns int, not a torch module"),
        ("nn.SiLU()", "nn.SiLo()", r"load_trained\(\) fails: AttributeError.*SiLo"),
        ("def load_trained", "class B(nn.Module): ...\ndef train", "must have one network class and has Tiny, B"),
    ],
)
def test_damaged_files(path: Path, old: str, new: str, problem: str) -> None:
    path.write_text(text_of(RESIDUAL, class_name="Tiny"))
    edit(path, old, new)
    with pytest.raises(VerificationError, match=problem):
        load_python_module(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"absent\.py is not there; give the path of a module"):
        load_python_module(tmp_path / "absent.py")


def test_missing_weights(path: Path) -> None:
    path.with_suffix(".pt").unlink()
    with pytest.raises(VerificationError, match=r"fails: FileNotFoundError.*keep the weights beside the module"):
        load_python_module(path)


def test_weights_of_another_network(path: Path) -> None:
    torch.save(build(PLAIN).state_dict(), path.with_suffix(".pt"))
    with pytest.raises(VerificationError, match=r"(?s)fails: RuntimeError: .*Missing key.*keep the weights"):
        load_python_module(path)
