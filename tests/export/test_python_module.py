from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from strategies import architectures

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Recipe, Transition, digest_of, lower
from nas.costs import costs_of
from nas.export.module_text import read_module_network
from nas.export.python_module import load_python_module
from nas.model.build import build
from nas.model.python_source import module_source
from nas.verification.checks import verify_structure

torch.set_num_threads(1)

PLAIN = Architecture(
    Input(1, 28, 28),
    10,
    (
        Block(8, norm_act=NormAct(order="activation_first", dropout=0.1)),
        Block(12, padding="valid", norm_act=NormAct(norm="none", bias=True, functional=True)),
        Pool(),
        Transition(6),
        Block(16, kernel=5, stride=2),
    ),
    Head("gap_linear", bias=False),
)
# How a module ends that was trained by the default recipe.
RECIPE_TEXT = """# That it was trained by.
RECIPE = {
    "epochs": 15,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 0.0,
    "schedule": "one_cycle",
    "warmup": 0.3,
    "step_epochs": 6,
    "step_factor": 0.1,
    "averaging": 0.0,
    "label_smoothing": 0.0,
    "augmentation": 0.0,
    "class_weights": "none",
    "augmentation_kind": "data",
}
"""

PLAIN_TEXT = (
    '''"""Found by a search under 8,000 parameters."""

import torch
import torch.nn.functional as F
from torch import nn

# What this module says of itself, for a machine to derive again.
CLAIMS = {}

INPUT_SHAPE = (1, 28, 28)  # channels, height, width
# Inputs are (image / 255 - MEAN) / STD, with one number for each channel.
MEAN = (0.1307,)
STD = (0.3081,)
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


class Net(nn.Module):
    """Images (N, 1, 28, 28) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=3, padding=1, bias=False),
            nn.ReLU(),
            nn.BatchNorm2d(8),
            nn.Dropout(0.1),
        )
        self.convblock2 = nn.Conv2d(8, 12, kernel_size=3)
        self.pool1 = nn.MaxPool2d(2)
        self.transition1 = nn.Conv2d(12, 6, kernel_size=1, bias=False)
        self.convblock3 = nn.Sequential(
            nn.Conv2d(6, 16, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convblock1(x)
        x = F.relu(self.convblock2(x))
        x = self.pool1(x)
        x = self.transition1(x)
        x = self.convblock3(x)
        x = self.gap(x)
        return self.fc(x.flatten(1))


# The same network as data, for `nas export` to write in another format without running this file.
ARCHITECTURE = {
    "input": {"channels": 1, "height": 28, "width": 28},
    "classes": 10,
    "body": [
        {"type": "block", "width": 8, "norm_act": {"order": "activation_first", "dropout": 0.1}},
        {
            "type": "block",
            "width": 12,
            "padding": "valid",
            "norm_act": {"bias": True, "norm": "none", "functional": True},
        },
        {"type": "pool"},
        {"type": "transition", "width": 6},
        {"type": "block", "width": 16, "kernel": 5, "stride": 2},
    ],
    "head": {"bias": False},
}
'''
    + RECIPE_TEXT
)

RESIDUAL = Architecture(
    Input(3, 32, 32),
    10,
    (
        Block(8),
        Block(12, kind="separable", stride=2, shortcut="projection", norm_act=NormAct(functional=True)),
        Block(12, kind="separable", shortcut="identity", repeat=3, norm_act=NormAct(activation="silu", dropout=0.2)),
        Pool("average", 3, 2),
    ),
    Head("conv_gap", kernel=3, padding="same"),
)
RESIDUAL_TEXT = (
    '''"""Found by hand.

A second paragraph.

1,234 parameters, 56,789 multiply-accumulates an image; confirmed test accuracy 99.427 % on cifar10, the mean over 3
seeds.
"""

import torch
import torch.nn.functional as F
from torch import nn

# What this module says of itself, for a machine to derive again.
CLAIMS = {
    "num_params": 1234,
    "num_macs": 56789,
    "dataset": "cifar10",
    "test_accuracy": 99.42666,
    "seeds": [1, 2, 3],
}

INPUT_SHAPE = (3, 32, 32)  # channels, height, width
# Inputs are (image / 255 - MEAN) / STD, with one number for each channel.
MEAN = (0.49, 0.48, 0.45)
STD = (0.2, 0.2, 0.2)
CLASSES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


class Tiny(nn.Module):
    """Images (N, 3, 32, 32) to logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.convblock1 = nn.Sequential(
            nn.Conv2d(3, 8, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.convblock2 = nn.Sequential(
            nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.Conv2d(8, 12, kernel_size=1, bias=False),
            nn.BatchNorm2d(12),
        )
        self.shortcut2 = nn.Conv2d(8, 12, kernel_size=1, stride=2, bias=False)
        self.convblock3 = nn.Sequential(
            nn.Conv2d(12, 12, kernel_size=3, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.Conv2d(12, 12, kernel_size=1, bias=False),
            nn.BatchNorm2d(12),
        )
        self.tail3 = nn.Sequential(
            nn.SiLU(),
            nn.Dropout(0.2),
        )
        self.pool1 = nn.AvgPool2d(3, stride=2)
        self.classifier = nn.Conv2d(12, 10, kernel_size=3, padding=1)
        self.gap = nn.AvgPool2d(7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convblock1(x)
        x = F.relu(self.convblock2(x) + self.shortcut2(x))
        for _ in range(3):
            x = self.convblock3(x) + x
            x = self.tail3(x)
        x = self.pool1(x)
        x = self.classifier(x)
        return self.gap(x).flatten(1)


def load_trained(path=None) -> Tiny:
    """The trained network in eval mode; the weights are at `path`, else beside this file in tiny.pt."""
    if path is None:
        path = __file__.removesuffix(".py") + ".pt"
    net = Tiny()
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return net.eval()


# The same network as data, for `nas export` to write in another format without running this file.
ARCHITECTURE = {
    "input": {"channels": 3, "height": 32, "width": 32},
    "classes": 10,
    "body": [
        {"type": "block", "width": 8},
        {
            "type": "block",
            "width": 12,
            "kind": "separable",
            "stride": 2,
            "shortcut": "projection",
            "norm_act": {"functional": True},
        },
        {
            "type": "block",
            "width": 12,
            "kind": "separable",
            "shortcut": "identity",
            "repeat": 3,
            "norm_act": {"activation": "silu", "dropout": 0.2},
        },
        {"type": "pool", "kind": "average", "size": 3, "stride": 2},
    ],
    "head": {"kind": "conv_gap", "kernel": 3, "padding": "same"},
}
'''
    + RECIPE_TEXT
)

# Runs without the project: imports every net_*.py of its folder, and prints how far its logits are from the saved.
STRANGER = """
import importlib.util, pathlib, sys
import torch
torch.set_num_threads(1)
before = set(sys.modules)
for path in sorted(pathlib.Path(sys.argv[1]).glob("net_*.py")):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, logits = torch.load(path.with_suffix(".io"), weights_only=True)
    net = module.load_trained()
    assert not net.training
    print(path.stem, (net(images) - logits).abs().max().item())
assert not [name for name in sys.modules if name.partition(".")[0] == "nas"]
"""


def text_of(architecture: Architecture, **change: Any) -> str:
    number = architecture.input.channels
    given: dict[str, Any] = {
        "provenance": "Made by a test.",
        "claims": {},
        "weights_name": None,
        "mean": (0.5,) * number,
        "std": (0.25,) * number,
        "class_names": tuple(map(str, range(architecture.classes))),
        "recipe": Recipe(),
    }
    return module_source(architecture, **given | change)


def claims_of(architecture: Architecture) -> dict[str, object]:
    layers = lower(architecture)
    costs = costs_of(layers)
    return {
        "num_params": costs.num_params,
        "num_macs": costs.num_macs,
        "peak_activation_bytes": costs.peak_activation_bytes,
        "digest": digest_of(layers),
    }


def sampled(number: int) -> list[Architecture]:
    found: list[Architecture] = []

    @settings(max_examples=number, deadline=None, database=None, phases=[Phase.generate])
    @given(architectures())
    def collect(architecture: Architecture) -> None:
        found.append(architecture)

    collect()
    return found


def ruff(*arguments: object) -> None:
    command = [sys.executable, "-m", "ruff", *map(str, arguments), "--isolated", "--no-cache", "--line-length", "120"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_text_of_a_plain_network() -> None:
    found = "Found by a search under\n8,000 parameters."
    assert text_of(PLAIN, provenance=found, mean=(0.1307,), std=(0.3081,)) == PLAIN_TEXT


def test_the_text_of_a_residual_separable_repeated_network() -> None:
    claims = {
        "num_params": 1234,
        "num_macs": 56789,
        "dataset": "cifar10",
        "test_accuracy": 99.42666,
        "seeds": [1, 2, 3],
    }
    text = text_of(
        RESIDUAL,
        class_name="Tiny",
        provenance="Found by hand.\n\nA second paragraph.",
        claims=claims,
        weights_name="tiny.pt",
        mean=(0.49, 0.48, 0.45),
        std=(0.2, 0.2, 0.2),
    )
    assert text == RESIDUAL_TEXT


def test_exports_are_the_network_to_a_stranger_to_ruff_and_to_verify(tmp_path: Path) -> None:
    architectures = [PLAIN, RESIDUAL, *sampled(40)]
    for index, architecture in enumerate(architectures):
        torch.manual_seed(index)
        stem, net = architecture.input, build(architecture)
        images = torch.randn(8, stem.channels, stem.height, stem.width)
        net.train()(images)  # so that the running statistics are no longer those of a fresh network
        path = tmp_path / f"net_{index:02}.py"
        path.write_text(text_of(architecture, claims=claims_of(architecture), weights_name=f"{path.stem}.pt"))
        torch.save(net.state_dict(), path.with_suffix(".pt"))
        torch.save((images, net.eval()(images).detach()), path.with_suffix(".io"))

        imported = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imported}
        assert {str(name).partition(".")[0] for name in names} == {"torch"}
        exported = load_python_module(path)
        assert all(check.holds for check in verify_structure(exported))
        assert list(exported.net.state_dict()) == list(net.state_dict())
        read = read_module_network(path)
        assert (read.network.architecture, read.provenance) == (architecture, "Made by a test.")
        # The same seed gives the same weights: submodules are made in the same order.
        torch.manual_seed(index)
        text_weights = fresh(path).parameters()
        torch.manual_seed(index)
        assert all(torch.equal(a, b) for a, b in zip(text_weights, build(architecture).parameters(), strict=True))

    ruff("format", "--check", tmp_path)
    ruff("check", tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-I", "-W", "error", "-c", STRANGER, str(tmp_path)]
    done = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    distances = [float(line.split()[1]) for line in done.stdout.splitlines()]
    assert len(distances) == len(architectures)
    assert max(distances) < 1e-6


def fresh(path: Path) -> torch.nn.Module:
    namespace: dict[str, Any] = {}
    exec(compile(path.read_text(), path, "exec"), namespace)
    net: torch.nn.Module = namespace["Net"]()
    return net


# ASCII, since ruff measures a line by how wide its characters look.
TEXTS = st.text(st.characters(codec="ascii"), max_size=80) | st.text("'\"\\ab ", max_size=150)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


def test_any_plain_claims_come_back_and_are_formatted(tmp_path: Path) -> None:
    cases: list[dict[str, object]] = []

    @settings(max_examples=80, deadline=None, database=None, phases=[Phase.generate])
    @given(st.dictionaries(TEXTS, VALUES, max_size=5))
    def collect(claims: dict[str, object]) -> None:
        text = text_of(PLAIN, claims=claims)
        assign = next(n for n in ast.parse(text).body if isinstance(n, ast.Assign))
        assert ast.literal_eval(assign.value) == claims
        (tmp_path / f"claims_{len(cases)}.py").write_text(text, encoding="utf-8")
        cases.append(claims)

    collect()
    assert len(cases) == 80
    ruff("format", "--check", tmp_path)


@pytest.mark.parametrize(
    "provenance", ['Said "so"', '"So" it is', 'Quotes """ within', "A back\\slash \\n", "Ends in one \\", "word " * 60]
)
def test_any_provenance_is_a_docstring(provenance: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(text := text_of(PLAIN, provenance=provenance, claims={"num_params": 1}))
    (tmp_path / "bare.py").write_text(text_of(PLAIN, provenance=provenance))
    ruff("format", "--check", tmp_path)
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring is not None
    assert " ".join(docstring.split()) == " ".join(f"{provenance} 1 parameters.".split())


def test_claims_beyond_ascii_come_back() -> None:
    claims = {"name": "Größe 2 \U0001f600", "broken\n\x85": "\u2028 \x00"}
    assign = next(n for n in ast.parse(text_of(PLAIN, claims=claims)).body if isinstance(n, ast.Assign))
    assert ast.literal_eval(assign.value) == claims


@pytest.mark.parametrize("claim", [float("nan"), torch.tensor(1.0), object()])
def test_a_claim_that_is_no_literal_is_refused(claim: object) -> None:
    with pytest.raises(TypeError, match="a claim must be numbers, text, lists and dicts"):
        text_of(PLAIN, claims={"accuracy": [claim]})
