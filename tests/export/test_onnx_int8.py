from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sampled import difference, sampled_network

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, digest_of, lower
from nas.costs import costs_of
from nas.errors import ExportError, VerificationError
from nas.export.onnx.int8 import load_int8_onnx, write_int8_onnx
from nas.int8.network import QuantizedNetwork
from nas.int8.quantize import quantize

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch.set_num_threads(1)

NETWORK = Architecture(
    Input(2, 9, 7),
    4,
    (
        Block(6, norm_act=NormAct(activation="prelu", dropout=0.1)),
        Block(6, kind="separable", shortcut="identity", repeat=2, norm_act=NormAct(activation="hardswish")),
        Pool(),
        Block(5),
        Pool(kind="average"),
    ),
    Head("flatten_linear", bias=False),
)
SAMPLE = sampled_network(NETWORK, 0)


def quantized() -> QuantizedNetwork:
    return quantize(SAMPLE.trained(), SAMPLE.calibration)


def write(path: Path, claims: dict[str, Any] | None = None) -> Any:
    write_int8_onnx(quantized(), claims or {}, path)
    return onnx.load(path)


def numbers(model: Any) -> dict[str, Any]:
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_the_file_says_what_it_is_and_its_claims_are_derived(tmp_path: Path) -> None:
    layers = lower(NETWORK)
    write(tmp_path / "net.int8.onnx", {"num_params": 1})
    loaded = load_int8_onnx(tmp_path / "net.int8.onnx")
    assert loaded.claims == {"num_params": 1}
    assert loaded.input_shape == (2, 9, 7)
    assert loaded.class_names == ("class 0", "class 1", "class 2", "class 3")
    expected = {**costs_of(layers).counts(), "digest": digest_of(layers), "num_bytes": quantized().num_bytes}
    assert loaded.derive() == expected == quantized().derive()


def test_every_pair_has_the_scale_and_zero_point_of_the_quantization(tmp_path: Path) -> None:
    model, network = write(tmp_path / "net.int8.onnx"), quantized()
    found = numbers(model)
    pairs = [node for node in model.graph.node if node.op_type == "QuantizeLinear" and "flat" not in node.name]
    maps = [(found[node.input[1]].item(), found[node.input[2]].item()) for node in pairs]
    # All maps but the last, which are the logits.
    assert maps == list(zip(network.scales["maps"].tolist(), network.parameters["zeros"].tolist(), strict=True))[:-1]
    assert {str(found[node.input[2]].dtype) for node in pairs} == {"int8"}
    for node in (node for node in model.graph.node if node.op_type == "Conv"):
        for place, dtype in ((1, "int8"), (2, "int32")):
            (made,) = (other for other in model.graph.node if node.input[place] in other.output)
            assert (made.op_type, str(found[made.input[0]].dtype)) == ("DequantizeLinear", dtype)
            assert not found[made.input[2]].any()
    weight = found["convblock1.0.weight"] * found["convblock1.0.weight.scale"].reshape(-1, 1, 1, 1)
    norm = {part: SAMPLE.weights[f"convblock1.1.{part}"] for part in ("weight", "running_var")}
    folded = SAMPLE.weights["convblock1.0.weight"] * (norm["weight"] / (norm["running_var"] + 1e-5).sqrt()).view(
        -1, 1, 1, 1
    )
    step = folded.flatten(1).abs().amax(1).view(-1, 1, 1, 1) / 127
    assert ((torch.from_numpy(weight) - folded).abs() <= 0.501 * step).all()


def test_onnxruntime_runs_it_in_8_bits(tmp_path: Path) -> None:
    """Where it finds the pairs, it mostly takes the operators of whole numbers instead."""
    model = write(tmp_path / "net.int8.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3  # it warns that such a file is for this machine alone
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": SAMPLE.images.float().numpy()})
    assert difference(torch.from_numpy(logits), quantized().logits(SAMPLE.images)) < 0.02
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    convolutions = sum(node.op_type == "Conv" for node in model.graph.node)
    # Never the last one, which gives logits, nor everywhere those whose input a shortcut reads too.
    assert convolutions / 2 < kinds.count("QLinearConv") < convolutions


def test_no_operator_is_newer_than_it_must_be(tmp_path: Path) -> None:
    model = write(tmp_path / "net.int8.onnx")
    newest = max(onnx.defs.get_schema(n.op_type, max_inclusive_version=14).since_version for n in model.graph.node)
    assert newest == model.opset_import[0].version == 14
    assert model.ir_version == 7


def test_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.int8.onnx")
    assert (tmp_path / "a.int8.onnx").read_bytes() == (tmp_path / "b.int8.onnx").read_bytes()


def test_a_network_without_scales_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="of a version that kept no scales; quantize the network again"):
        write_int8_onnx(replace(quantized(), scales={}), {}, tmp_path / "net.int8.onnx")


def leave_out_activation(model: Any) -> None:
    (first, *_) = (node for node in model.graph.node if node.op_type == "HardSwish")
    first.op_type = "Identity"


def describe_a_wider_network(model: Any) -> None:
    (about,) = (p for p in model.metadata_props if p.key == "architecture")
    about.value = about.value.replace('"width": 6', '"width": 4000')


@pytest.mark.parametrize("change", [leave_out_activation, describe_a_wider_network])
def test_another_network_than_the_described_one_is_refused(tmp_path: Path, change: Any) -> None:
    model = write(tmp_path / "net.int8.onnx")
    before = model.SerializeToString()
    change(model)
    assert model.SerializeToString() != before
    onnx.save(model, tmp_path / "net.int8.onnx")
    with pytest.raises(VerificationError, match="its graph is not the one that this version writes"):
        load_int8_onnx(tmp_path / "net.int8.onnx")


def test_a_file_that_describes_no_network_is_refused(tmp_path: Path) -> None:
    model = write(tmp_path / "net.int8.onnx")
    (about,) = (p for p in model.metadata_props if p.key == "architecture")
    model.metadata_props.remove(about)
    onnx.save(model, tmp_path / "net.int8.onnx")
    with pytest.raises(VerificationError, match="does not describe its network"):
        load_int8_onnx(tmp_path / "net.int8.onnx")
