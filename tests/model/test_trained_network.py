"""The file of a trained network: what is read is what was written, and a damaged one is refused in words."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.arch import Architecture, Block, Input, Pool, Recipe
from nas.errors import StudyError
from nas.model.build import build
from nas.model.image_network import ImageNetwork, module_of
from nas.model.trained_network import TrainedNetwork, read_trained_network

ARCHITECTURE = Architecture(Input(1, 8, 8), 3, (Block(4), Pool(), Block(6, "separable")))


@pytest.fixture
def network() -> TrainedNetwork:
    torch.manual_seed(0)
    weights = {name: tensor.numpy() for name, tensor in build(ARCHITECTURE).state_dict().items()}
    return TrainedNetwork(ARCHITECTURE, Recipe(epochs=2), weights, (0.25,), (0.5,), ("cat", "dog", "Ümläut"))


def test_what_is_read_is_what_was_written(network: TrainedNetwork, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(network.to_bytes())
    found = read_trained_network(tmp_path / "a")
    for name in ("architecture", "recipe", "mean", "std", "class_names"):
        assert getattr(found, name) == getattr(network, name)
    assert found.weights.keys() == network.weights.keys()
    for name, array in network.weights.items():
        assert found.weights[name].shape == array.shape
        assert found.weights[name].dtype == array.dtype
        assert np.array_equal(found.weights[name], array)
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    first, second = (ImageNetwork(module_of(n), n.mean, n.std)(images) for n in (found, network))
    assert torch.equal(first, second)


def test_a_file_that_is_spoilt_anywhere_is_read_or_refused(network: TrainedNetwork, tmp_path: Path) -> None:
    content, rng, path = network.to_bytes(), random.Random(0), tmp_path / "a"
    refused = 0
    for _ in range(1_000):
        spoilt = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            spoilt[rng.randrange(rng.choice((8, 400, len(spoilt))))] = rng.randrange(256)
        path.write_bytes(bytes(spoilt[: rng.choice((len(spoilt), rng.randrange(len(spoilt))))]))
        try:
            read_trained_network(path)
        except StudyError:
            refused += 1
    assert refused > 300


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"mean": [0.1, 0.2]}, "mean and std do not have one number a channel"),
        ({"std": [0.0]}, "std has a number that is not above 0"),
        ({"class_names": ["cat"]}, "1 class names for 3 outputs"),
        ({"recipe": {"epochs": 0}}, "recipe.epochs: 0 is below 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    network: TrainedNetwork, change: dict[str, object], text: str, tmp_path: Path
) -> None:
    content = network.to_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"]["nas"] = json.dumps(json.loads(header["__metadata__"]["nas"]) | change)
    changed = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
    with pytest.raises(StudyError, match=f"is damaged: .*{text}"):
        read_trained_network(tmp_path / "a")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(StudyError, match="cannot read nowhere: No such file or directory"):
        read_trained_network(Path("nowhere"))
