from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from sampled import difference, sampled_network

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, Transition, lower
from nas.costs import costs_of
from nas.errors import ExportError, VerificationError
from nas.export.onnx.float32 import load_onnx, write_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch.set_num_threads(1)

NETWORK = Architecture(
    Input(2, 9, 7),
    4,
    (
        Block(6, norm_act=NormAct(activation="prelu", dropout=0.1)),
        Block(6, kind="separable", shortcut="identity", repeat=2, norm_act=NormAct(activation="gelu")),
        Pool(kind="average"),
        Transition(5, NormAct(activation="silu", order="activation_first")),
    ),
    Head("flatten_linear", bias=False),
)
SAMPLE = sampled_network(NETWORK, 0)
CLAIMS = {"num_params": 385, "dataset": "mnist", "test_accuracy": 99.4, "list": [1, 2]}


def write(path: Path, **change: Any) -> Path:
    claims = change.pop("claims", CLAIMS)
    write_onnx(SAMPLE.trained(**change), claims, path)
    return path


def test_file_says_what_it_is_and_computes_it(tmp_path: Path) -> None:
    loaded = load_onnx(write(tmp_path / "net.onnx"))
    assert loaded.claims == CLAIMS
    assert loaded.input_shape == (2, 9, 7)
    assert loaded.class_names == ("class 0", "class 1", "class 2", "class 3")
    assert loaded.logits(SAMPLE.images).dtype == torch.float32
    assert difference(loaded.logits(SAMPLE.images), SAMPLE.logits) < 1e-6


def test_the_graph_takes_pixels_as_they_are(tmp_path: Path) -> None:
    """Whoever runs it elsewhere has images, and neither nas nor its mean and std."""
    path = write(tmp_path / "net.onnx", claims={"name": "six wide", "input": "images, 0 to 255"})
    model = onnx.load(path)
    (given,) = model.graph.input
    run = onnxruntime.InferenceSession(path.read_bytes()).run
    logits = torch.from_numpy(run(None, {given.name: SAMPLE.images.float().numpy()})[0])
    assert difference(logits, SAMPLE.logits) < 1e-6
    assert (given.doc_string, model.doc_string) == ("values 0 to 255", "six wide images, 0 to 255")


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "prelu", "silu", "gelu", "hardswish"])
def test_no_operator_is_newer_than_it_must_be(tmp_path: Path, activation: Any) -> None:
    blocks = (Block(4, norm_act=NormAct(activation=activation)), Pool(), Block(4, shortcut="identity"))
    sample = sampled_network(Architecture(Input(1, 8, 8), 3, blocks), 0)
    write_onnx(sample.trained(), {}, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    # An operator that came later has no definition there, and is refused.
    newest = max(onnx.defs.get_schema(n.op_type, max_inclusive_version=15).since_version for n in model.graph.node)
    assert newest <= model.opset_import[0].version == 15
    assert model.ir_version == 8
    assert difference(load_onnx(tmp_path / "net.onnx").logits(sample.images), sample.logits) < 1e-5


def test_a_file_of_the_version_before_is_read(tmp_path: Path) -> None:
    """Its graph takes normalized images, by another name."""
    model = onnx.load(write(tmp_path / "net.onnx"))
    center, scale, first = model.graph.node[:3]
    assert (center.op_type, scale.op_type) == ("Sub", "Div")
    first.input[0] = model.graph.input[0].name = "image"
    for node in (center, scale):
        model.graph.node.remove(node)
    onnx.save(model, tmp_path / "net.onnx")
    assert difference(load_onnx(tmp_path / "net.onnx").logits(SAMPLE.images), SAMPLE.logits) < 1e-6


def test_parameters_are_counted_in_the_file_each_once(tmp_path: Path) -> None:
    expected = (
        (6 * 2 * 3 * 3 + 2 * 6 + 1)  # convolution, norm, slope
        + (6 * 3 * 3 + 2 * 6 + 6 * 6 + 2 * 6)  # the separable block, which runs twice
        + (5 * 6 + 2 * 5)
        + 4 * (5 * 4 * 3)
    )
    assert load_onnx(write(tmp_path / "net.onnx")).num_params == expected == costs_of(lower(NETWORK)).num_params


def test_count_comes_from_the_file_and_not_from_its_claims(tmp_path: Path) -> None:
    path = write(tmp_path / "net.onnx")
    model = onnx.load(path)
    (bias,) = (t for t in model.graph.initializer if t.name == "transition1.2.bias")
    model.graph.initializer.remove(bias)
    model.graph.initializer.append(onnx.numpy_helper.from_array(SAMPLE.weights["transition1.2.weight"].numpy(), "w"))
    (norm,) = (node for node in model.graph.node if "transition1.2.bias" in node.input)
    norm.input[2] = "transition1.2.weight"  # one tensor for both
    onnx.save(model, path)
    assert load_onnx(path).num_params == costs_of(lower(NETWORK)).num_params - 5


def test_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    assert write(tmp_path / "a.onnx").read_bytes() == write(tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("count", [1, 3, 1001])
def test_any_number_of_images(tmp_path: Path, count: int) -> None:
    images = SAMPLE.images.repeat(count // 4 + 1, 1, 1, 1)[:count]
    logits = load_onnx(write(tmp_path / "net.onnx")).logits(images)
    assert difference(logits, SAMPLE.logits.repeat(count // 4 + 1, 1)[:count]) < 1e-6


def test_other_images_are_refused(tmp_path: Path) -> None:
    loaded = load_onnx(write(tmp_path / "net.onnx"))
    with pytest.raises(VerificationError, match=r"images are torch.float32 \(4, 2, 9, 7\), and the network takes"):
        loaded.logits(SAMPLE.images.float())
    with pytest.raises(VerificationError, match=r"torch.uint8 \(4, 1, 9, 7\)"):
        loaded.logits(SAMPLE.images[:, :1])


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    path = write(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ExportError, match=rf"need the package {module}: pip install 'nas-budget\[onnx\]'"):
        load_onnx(path)


def test_missing_onnx_names_the_extra_on_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ExportError, match=r"pip install 'nas-budget\[onnx\]'"):
        write(tmp_path / "net.onnx")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*Missing key"):
        write(tmp_path / "net.onnx", weights={})
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*size mismatch for convblock1"):
        write(tmp_path / "net.onnx", weights=SAMPLE.weights | {"convblock1.0.weight": torch.ones(6, 3, 3, 3)})


def test_mean_and_std_need_a_number_for_each_channel(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"mean is \[0.5\] and must be 2 finite numbers"):
        write(tmp_path / "net.onnx", mean=[0.5])
    with pytest.raises(ExportError, match=r"std is \[1.0, 0.0\] and must be"):
        write(tmp_path / "net.onnx", std=[1.0, 0.0])


def test_each_class_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there are 1 class names for 4 logits; give one for each"):
        write(tmp_path / "net.onnx", class_names=("one",))


@pytest.mark.parametrize("claim", [float("nan"), object()])
def test_claims_that_are_not_plain_data_are_refused(tmp_path: Path, claim: object) -> None:
    with pytest.raises(ExportError, match="the claims cannot be written as JSON"):
        write(tmp_path / "net.onnx", claims={"test_accuracy": claim})


def test_unwritable_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*: No such file or directory; choose another `output`"):
        write(tmp_path / "no" / "net.onnx")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(VerificationError, match="is not there"):
        load_onnx(path)
    path.write_bytes(b"not a network")
    with pytest.raises(VerificationError, match="is not a valid ONNX file"):
        load_onnx(path)
    model = onnx.load(write(path))
    del model.metadata_props[:]
    onnx.save(model, path)
    with pytest.raises(VerificationError, match="does not say what it is"):
        load_onnx(path)


def test_shape_that_the_graph_does_not_take_is_refused(tmp_path: Path) -> None:
    model = onnx.load(write(tmp_path / "net.onnx"))
    (about,) = model.metadata_props
    about.value = about.value.replace("[2, 9, 7]", "[2, 7, 9]")
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(VerificationError, match=r"says that it takes images of \(2, 7, 9\)"):
        load_onnx(tmp_path / "net.onnx")
