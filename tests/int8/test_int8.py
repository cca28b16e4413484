from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sampled import difference, sampled_network, sampled_networks
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Recipe, Transition
from nas.errors import ExportError, VerificationError
from nas.export.int8_weights import load_int8_weights, write_int8_weights
from nas.int8.quantize import quantize
from nas.model.build import build
from nas.model.image_network import normalize
from nas.model.trained_network import TrainedNetwork

torch.set_num_threads(1)

NETWORK = Architecture(
    Input(1, 8, 8),
    10,
    (
        Block(8),
        Block(8, kind="separable", shortcut="identity", norm_act=NormAct(activation="hardswish")),
        Pool(),
        Block(12, norm_act=NormAct(order="activation_first")),
    ),
    Head("gap_linear"),
)
SAMPLE = sampled_network(NETWORK, 0)


def quantized(**change: Any) -> Any:
    images = change.pop("calibration_images", SAMPLE.calibration)
    return quantize(SAMPLE.trained(**change), images)


def trained(
    architecture: Architecture, weights: dict[str, Tensor], mean: tuple[float, ...], std: tuple[float, ...]
) -> TrainedNetwork:
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    names = tuple(map(str, range(architecture.classes)))
    return TrainedNetwork(architecture, Recipe(), arrays, mean, std, names)


def test_bytes_are_those_of_all_that_is_stored() -> None:
    expected = (
        (8 * 9 + 8 * 9)  # weights; bias, multiplier and shift of each channel; its ReLU costs nothing
        + (8 * 9 + 8 * 9)
        + (8 * 8 + 8 * 9)
        + (2 * 4 + 1)  # the addition
        + 256  # hardswish
        + (12 * 8 * 9 + 12 * 9)
        + (12 + 12 * 9)  # a norm behind its activation
        + (4 + 1)  # global average
        + (10 * 12 + 10 * 8)  # logits: bias and scale
        + (4 + 4)  # pixels
        + 11  # zero points: the image and ten maps
    )
    assert quantized().num_bytes == expected


def test_weights_keep_seven_bits() -> None:
    """Each whole weight times its channel's scale is the folded weight, to half a step."""
    network = quantized()
    norm = {part: SAMPLE.weights[f"convblock1.1.{part}"] for part in ("weight", "running_var")}
    scale = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-5)
    folded = SAMPLE.weights["convblock1.0.weight"] * scale.view(-1, 1, 1, 1)
    step = folded.flatten(1).abs().amax(1).view(-1, 1, 1, 1) / 127
    whole = network.parameters["convblock1.0.weight"]
    assert whole.dtype == torch.int8
    assert whole.flatten(1).abs().amax(1).tolist() == [127] * 8
    assert ((whole * step - folded).abs() <= 0.501 * step).all()


def test_logits_are_close_to_those_of_torch() -> None:
    errors = []
    for s in sampled_networks():
        network = quantize(s.trained(), torch.cat([s.calibration, s.images]))
        errors.append(difference(network.logits(s.images), s.logits))
    # Random networks of tens of layers amplify any rounding; most stay within about one step of 8 bits.
    assert sorted(errors)[len(errors) // 2] < 0.015
    assert sorted(errors)[int(0.9 * len(errors))] < 0.1


def test_accuracy_on_real_images_survives() -> None:
    digits = load_digits()
    images = torch.tensor(digits.images * 255 / 16).round().to(torch.uint8).unsqueeze(1)
    labels = torch.tensor(digits.target)
    mean, std = (0.305,), (0.376,)
    inputs = normalize(images, mean, std)
    torch.manual_seed(0)
    network = build(NETWORK)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(6):
        for batch in torch.randperm(1400).split(100):
            optimizer.zero_grad()
            functional.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    network.eval()
    with torch.inference_mode():
        right = (network(inputs[1400:]).argmax(1) == labels[1400:]).double().mean()
    whole = quantize(SAMPLE.trained(weights=network.state_dict(), mean=mean, std=std), images[:256])
    assert right > 0.85
    assert (whole.logits(images[1400:]).argmax(1) == labels[1400:]).double().mean() > right - 0.015
    assert whole.num_bytes < 4 * sum(p.numel() for p in network.parameters())


def test_dead_channels_keep_their_bias() -> None:
    weights = SAMPLE.weights | {"convblock1.1.weight": torch.zeros(8)}
    network = build(NETWORK).eval()
    network.load_state_dict(weights)
    with torch.inference_mode():
        expected = network(normalize(SAMPLE.images, SAMPLE.mean, SAMPLE.std))
    assert difference(quantized(weights=weights).logits(SAMPLE.images), expected) < 0.05


def test_file_holds_the_same_network(tmp_path: Path) -> None:
    network, claims = quantized(), {"num_params": 1252, "dataset": "digits"}
    write_int8_weights(network, claims, tmp_path / "net.pt")
    loaded = load_int8_weights(tmp_path / "net.pt")
    assert loaded.claims == claims
    assert loaded.input_shape == (1, 8, 8)
    assert loaded.class_names == tuple(f"class {number}" for number in range(10))
    assert loaded.num_bytes == network.num_bytes
    assert torch.equal(loaded.logits(SAMPLE.images), network.logits(SAMPLE.images))


def test_the_file_holds_the_scales_and_one_without_them_is_read(tmp_path: Path) -> None:
    path, network = tmp_path / "net.pt", quantized()
    write_int8_weights(network, {}, path)
    found = load_int8_weights(path).scales
    assert found.keys() == network.scales.keys()
    assert all(torch.equal(found[name], scale) for name, scale in network.scales.items())
    plain = torch.load(path, weights_only=True)
    del plain["scales"]  # as earlier versions wrote it
    torch.save(plain, path)
    loaded = load_int8_weights(path)
    assert loaded.scales == {}
    assert torch.equal(loaded.logits(SAMPLE.images), network.logits(SAMPLE.images))


def test_every_sampled_network_survives_its_file(tmp_path: Path) -> None:
    for s in sampled_networks()[:50]:
        network = quantize(s.trained(), s.calibration)
        write_int8_weights(network, {}, tmp_path / "net.pt")
        assert torch.equal(load_int8_weights(tmp_path / "net.pt").logits(s.images), network.logits(s.images))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    with pytest.raises(VerificationError, match="is not there"):
        load_int8_weights(path)
    path.write_bytes(b"not a network")
    with pytest.raises(VerificationError, match=r"is not a file of torch\.save"):
        load_int8_weights(path)
    torch.save(SAMPLE.weights, path)
    with pytest.raises(VerificationError, match="does not say what it is"):
        load_int8_weights(path)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("architecture", "{}", "does not describe its network"),
        ("architecture", "nothing", "does not describe its network"),
        ("parameters", {}, "its parameters are not those of the network"),
        ("parameters", None, "its parameters are not those of the network"),
        ("parameters", {"zeros": 1}, "its parameters are not those of the network"),
        ("scales", {"maps": torch.ones(3)}, "its parameters are not those of the network"),
        ("nas", "{}", "does not say what it is"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, key: str, value: object, text: str) -> None:
    path = tmp_path / "net.pt"
    write_int8_weights(quantized(), {}, path)
    torch.save(torch.load(path, weights_only=True) | {key: value}, path)
    with pytest.raises(VerificationError, match=text):
        load_int8_weights(path)


def test_parameter_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    write_int8_weights(quantized(), {}, path)
    plain = torch.load(path, weights_only=True)
    plain["parameters"]["fc.weight"] = plain["parameters"]["fc.weight"][:5]
    torch.save(plain, path)
    with pytest.raises(VerificationError, match="its parameters are not those of the network"):
        load_int8_weights(path)


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(ExportError, match="no images to calibrate with; give a few hundred of the training set"):
        quantized(calibration_images=SAMPLE.calibration[:0])
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*Missing key"):
        quantized(weights={})
    with pytest.raises(ExportError, match="the weights are not finite numbers"):
        quantized(weights=SAMPLE.weights | {"fc.bias": torch.full((10,), float("inf"))})
    with pytest.raises(VerificationError, match="images are"):
        quantized(calibration_images=SAMPLE.calibration.float())


def test_sums_beyond_32_bits_are_refused() -> None:
    wide = Architecture(Input(1, 300, 300), 2, (), Head("flatten_linear"))
    weights = {"fc.weight": torch.ones(2, 90_000), "fc.bias": torch.zeros(2)}
    with pytest.raises(ExportError, match=r"fc: its sums may reach 2,914,650,000, beyond 32 bits; use a smaller layer"):
        quantize(trained(wide, weights, (0.5,), (0.5,)), torch.zeros(1, 1, 300, 300, dtype=torch.uint8))


def test_image_is_one_step_from_its_pixels() -> None:
    """A transition that copies the image: the logits are the pixels' mean, to a step."""
    copy = Architecture(Input(3, 4, 4), 3, (Transition(3),), Head("gap_linear", bias=False))
    weights = {"transition1.weight": torch.eye(3).view(3, 3, 1, 1), "fc.weight": torch.eye(3)}
    images = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4) * 5
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    network = quantize(trained(copy, weights, mean, std), images)
    expected = normalize(images, mean, std).mean((2, 3))
    assert (network.logits(images) - expected).abs().max() < (4.5 + 2.25) / 255
