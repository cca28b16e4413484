from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sampled import difference, sampled_network, sampled_networks

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, costs_of, lower
from nas.errors import ExportError, VerificationError
from nas.export.torch_program import load_torch_program, write_torch_program

torch.set_num_threads(1)

NETWORK = Architecture(
    Input(1, 8, 8),
    3,
    (
        Block(4, repeat=1, norm_act=NormAct(activation="prelu", dropout=0.1)),
        Pool(),
        Block(4, shortcut="identity", repeat=2),
    ),
    Head("conv_gap"),
)
SAMPLE = sampled_network(NETWORK, 0)
CLAIMS = {"num_params": 241, "dataset": "mnist"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    write_torch_program(SAMPLE.trained(), CLAIMS, path)
    return path


def test_file_says_what_it_is_and_computes_it(program: Path) -> None:
    loaded = load_torch_program(program)
    assert loaded.claims == CLAIMS
    assert loaded.input_shape == (1, 8, 8)
    assert loaded.class_names == ("class 0", "class 1", "class 2")
    assert loaded.num_params == (4 * 9 + 8 + 1) + (4 * 4 * 9 + 8) + (4 * 3 + 3) == costs_of(lower(NETWORK)).num_params
    assert difference(loaded.logits(SAMPLE.images), SAMPLE.logits) < 1e-6


@pytest.mark.parametrize("count", [1, 3, 1001])
def test_any_number_of_images(program: Path, count: int) -> None:
    images = SAMPLE.images.repeat(count // 4 + 1, 1, 1, 1)[:count]
    logits = load_torch_program(program).logits(images)
    assert difference(logits, SAMPLE.logits.repeat(count // 4 + 1, 1)[:count]) < 1e-6


@pytest.mark.parametrize("number", range(0, 200, 40))
def test_sampled_networks_compute_what_torch_does(tmp_path: Path, number: int) -> None:
    s = sampled_networks()[number]
    write_torch_program(s.trained(), {}, tmp_path / "net.pt2")
    loaded = load_torch_program(tmp_path / "net.pt2")
    assert difference(loaded.logits(s.images), s.logits) < 1e-6
    assert loaded.num_params == costs_of(lower(s.architecture)).num_params


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*Missing key"):
        write_torch_program(SAMPLE.trained(weights={}), CLAIMS, tmp_path / "net.pt2")


def test_unwritable_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*choose another `output`"):
        write_torch_program(SAMPLE.trained(), {}, tmp_path / "no" / "net.pt2")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with pytest.raises(VerificationError, match="is not there"):
        load_torch_program(path)
    path.write_bytes(b"not a network")
    with pytest.raises(VerificationError, match=r"is not a torch\.export program"):
        load_torch_program(path)
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), path)
    with pytest.raises(VerificationError, match="does not say what it is"):
        load_torch_program(path)
