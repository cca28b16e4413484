"""A module read as text: nothing of it runs, and what does not agree is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from own_blocks import own_block

from nas.arch import Architecture, Block, Head, Input, Pool, Recipe, digest_of, lower
from nas.costs import costs_of
from nas.errors import VerificationError
from nas.export.module_text import read_module_network
from nas.export.python_module import write_python_module
from nas.model.build import build
from nas.model.trained_network import TrainedNetwork

NETWORK = Architecture(Input(1, 8, 8), 3, (own_block("mixed", Block(4), 1), Pool(), Block(6)), Head())
ABOUT = "Trial 3 of the nas study 'a-long-name' on digits. " * 9 + '\n\nIt is "known" \\ from two-thirds.'
NOT_GIVEN = "; give it as it was exported, or export it again from its study: nas export NAME -o FILE.py"
KEEP = "; keep beside the module, under its name, the weights that came with it"


@pytest.fixture
def network() -> TrainedNetwork:
    torch.manual_seed(0)
    weights = {name: tensor.detach().numpy() for name, tensor in build(NETWORK).state_dict().items()}
    return TrainedNetwork(NETWORK, Recipe(epochs=3, momentum=0.5), weights, (0.3,), (0.2,), ("a", "b", '"c"'))


@pytest.fixture
def claims() -> dict[str, object]:
    layers = lower(NETWORK)
    return {**costs_of(layers).counts(), "digest": digest_of(layers), "dataset": "digits", "test_accuracy": 91.25}


@pytest.fixture
def path(network: TrainedNetwork, claims: dict[str, object], tmp_path: Path) -> Path:
    write_python_module(network, claims, tmp_path / "net.py", ABOUT)
    return tmp_path / "net.py"


def edit(path: Path, old: str, new: str) -> None:
    text, count = re.subn(old, new, path.read_text())
    assert count
    path.write_text(text)


def test_what_was_written_is_read_and_written_again(
    path: Path, network: TrainedNetwork, claims: dict[str, object], tmp_path: Path
) -> None:
    """Also of a kind of block that is not registered here."""
    found = read_module_network(path)
    for name in ("architecture", "recipe", "mean", "std", "class_names"):
        assert getattr(found.network, name) == getattr(network, name)
    assert found.claims == claims
    (tmp_path / "again").mkdir()
    write_python_module(found.network, found.claims, tmp_path / "again/net.py", found.provenance)
    for name in ("net.py", "net.pt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_nothing_runs_and_what_does_no_harm_may_change(path: Path, network: TrainedNetwork) -> None:
    """Comments, line breaks, docstrings, and code of one's own beside the network's."""
    edit(path, "import torch\n", "import torch\n\nraise SystemExit(3)\n")
    edit(path, r'    """Images .*\n', "    # of mine\n")
    edit(path, r"super\(\).__init__\(\)", "super(\n        ).__init__()")
    assert read_module_network(path).network.architecture == network.architecture


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (r"(?s)# The same network as data.*", "", "has no ARCHITECTURE to export: an earlier version of nas wrote it"),
        ("ARCHITECTURE = ", "ARCHITECTURE = [] and ", "does not define ARCHITECTURE, a dict; give a module that `nas"),
        ('"width": 6', '"width": 0', "ARCHITECTURE: body[2].width: 0 is below 1, the least" + NOT_GIVEN),
        ('"classes": 3', '"classes": 4', "num_params is 297, and it is 304 of ARCHITECTURE" + NOT_GIVEN),
        ('"digest": "', '"digest": "0', "CLAIMS says that digest is 0"),
        (r"\(1, 8, 8\)  #", "(1, 8, 9)  #", "INPUT_SHAPE is (1, 8, 9), and ARCHITECTURE is for another" + NOT_GIVEN),
        ('"epochs": 3', '"epochs": 0', "RECIPE: epochs: 0 is below 1, the least" + NOT_GIVEN),
        (r"nn.ReLU\(\)", "nn.SiLU()", "the code of class Net is not that of ARCHITECTURE, which is what is exported"),
        ("class Net", "class Not", "the code of class Net is not that of ARCHITECTURE, which is what is exported"),
        (r"(?s).*", "x = 1\n", "does not define CLAIMS, a dict; give a module that `nas export` wrote"),
        (r"(?s)^.*", "PK\x03\x04\x00", "is not valid Python: "),
        ("CLAIMS = ", "CLAIMS = " + "-" * 100_000, "cannot be read as Python: MemoryError"),
        ("import torch\n", "import import\n", "is not valid Python: invalid syntax"),
    ],
)  # fmt: skip
def test_what_does_not_agree_is_refused(path: Path, old: str, new: str, problem: str) -> None:
    edit(path, old, new)
    with pytest.raises(VerificationError, match=re.escape(problem)):
        read_module_network(path)


def test_weights_of_another_network_are_refused(path: Path) -> None:
    file = path.with_suffix(".pt")
    good = torch.load(file, weights_only=True)
    for weights, problem in (
        (good | {"fc.weight": torch.zeros(3, 5)}, "fc.weight is float32 of shape (3, 5), and in"),
        (good | {"fc.bias": good["fc.bias"].double()}, "fc.bias is float64 of shape (3,), and in"),
        (good | {"fc.more": torch.zeros(1)}, f"fc.more is float32 of shape (1,), and in {path} it is not there{KEEP}"),
        ({"fc.bias": good["fc.bias"]}, f"is missing, and in {path} it is float32 of shape (1, 1, 3, 3)"),
        ([1], f"is no file of weights: AttributeError: 'list' object has no attribute 'items'{KEEP}"),
    ):
        torch.save(weights, file)
        with pytest.raises(VerificationError, match=re.escape(problem)):
            read_module_network(path)
    file.unlink()
    with pytest.raises(VerificationError, match=re.escape(f"net.pt is not there{KEEP}")):
        read_module_network(path)
