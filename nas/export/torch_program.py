"""torch.export: the network as a program that torch, AOTInductor and ExecuTorch take, without this project's code.

The program takes float32 (N, C, H, W) with values 0 to 255, normalizes them, and gives float32 logits (N, classes). N
is free. Its claims, shape, mean, std and class names lie in the file as the extra file 'nas.json'.

`torch.export.load` unpickles and evaluates what a file holds, which may run code of whoever wrote it. The reader here
takes the graph and the weights as the plain data that they are, and computes with the operators of `_OPERATORS` alone.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nas.errors import ExportError, VerificationError, describe
from nas.model.exported_file import LoadedExport, finite_module, require_file, run_in_batches
from nas.model.image_network import ImageNetwork, normalize
from nas.model.metadata import Metadata, metadata_of, read_metadata
from nas.model.trained_network import TrainedNetwork

_EXTRA_FILE = "nas.json"
_INPUT = "images"  # what `ImageNetwork` calls them; programs of version 0.1 take 'x', normalized images
_DTYPES = {5: torch.int64, 7: torch.float32}  # as torch numbers them in the file: those of counts and weights
_ATEN = torch.ops.aten
_OPERATORS: dict[str, Callable[..., Tensor]] = {
    f"torch.ops.{operator}": operator
    for operator in (
        *(_ATEN.conv2d.default, _ATEN.linear.default, _ATEN.batch_norm.default, _ATEN.prelu.default),
        *(_ATEN.max_pool2d.default, _ATEN.avg_pool2d.default, _ATEN.adaptive_avg_pool2d.default),
        *(
            _ATEN.relu.default,
            _ATEN.leaky_relu.default,
            _ATEN.silu.default,
            _ATEN.gelu.default,
            _ATEN.hardswish.default,
        ),
        *(_ATEN.dropout.default, _ATEN.feature_dropout.default, _ATEN.flatten.using_ints, _ATEN.to.dtype),
        *(_ATEN.add.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor, _ATEN.div.Tensor),
    )
}
_ASSERTION = "torch.ops.aten._assert_tensor_metadata.default"  # computes nothing


def write_torch_program(network: TrainedNetwork, claims: Mapping[str, object], path: Path) -> None:
    """Write the network with its weights to `path`, which torch wants to end in .pt2.

    Raises:
        ExportError: the weights do not fit, or the file cannot be written.
    """
    about = metadata_of(network, claims)
    module = ImageNetwork(finite_module(network), about.mean, about.std).eval()
    example = torch.zeros(2, *about.input_shape)  # one image would be taken for a constant
    batch = torch.export.Dim("N", min=1)
    program = torch.export.export(module, (example,), dynamic_shapes={_INPUT: {0: batch}})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names the files of this machine
    try:
        torch.export.save(program, path, extra_files={_EXTRA_FILE: about.to_json()})
    except (OSError, RuntimeError) as error:
        raise ExportError(f"cannot write {path}: {error}; choose another `output`") from None


class _Name(NamedTuple):
    """An argument of a step: the value of this name."""

    name: str


class _Step(NamedTuple):
    """One operator of the program."""

    operator: Callable[..., Tensor]
    args: list[Any]
    kwargs: dict[str, Any]
    output: str
    last_read: list[str]  # the values that no later step reads


@dataclass(frozen=True, slots=True)
class TorchProgram(LoadedExport):
    """A torch.export file that was read back."""

    path: Path
    metadata: Metadata
    num_params: int  # elements of the program's parameters, each tensor once
    steps: Sequence[_Step]
    weights: Mapping[str, Tensor]
    input_name: str

    def _logits(self, images: Tensor) -> Tensor:
        return run_in_batches(self._run, images)

    def _derive(self) -> dict[str, object]:
        return {"num_params": self.num_params}

    def _run(self, images: Tensor) -> Tensor:
        is_raw = self.input_name == _INPUT
        inputs = images.float() if is_raw else normalize(images, self.metadata.mean, self.metadata.std)
        values = {**self.weights, self.input_name: inputs}

        def value(argument: Any) -> Any:
            return values[argument.name] if isinstance(argument, _Name) else argument

        result = inputs
        for step in self.steps:
            try:
                result = step.operator(*map(value, step.args), **{name: value(a) for name, a in step.kwargs.items()})
            except Exception as error:  # torch says nothing of what an operator raises on arguments that do not fit
                raise VerificationError(f"{self.path}: {step.output!r} cannot be computed: {describe(error)}") from None
            values[step.output] = result
            for name in step.last_read:
                del values[name]
        return result


def load_torch_program(path: Path) -> TorchProgram:
    """Return the torch.export file at `path`. Nothing in it is unpickled or evaluated.

    Raises:
        VerificationError: the file is missing, is no torch.export program, has operators that no network of ours has,
            or was not written by `write_torch_program`.
    """
    require_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive, path)
    except VerificationError:
        raise
    except Exception as error:  # a damaged archive, or data of another structure: anything may come of it
        raise VerificationError(
            f"{path} is not a torch.export program with open weights, as torch 2.9 and later write them: "
            f"{describe(error)}"
        ) from None


def _read(archive: zipfile.ZipFile, path: Path) -> TorchProgram:
    model = next(name for name in archive.namelist() if name.endswith("/models/model.json"))
    folder = model.removesuffix("models/model.json")

    def read(name: str) -> bytes:
        # torch stores and does not compress: what is read is never longer than the file.
        if archive.getinfo(folder + name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed")
        return archive.read(folder + name)

    extra = f"extra/{_EXTRA_FILE}"
    about = read_metadata(read(extra).decode() if folder + extra in archive.namelist() else None, path)
    program = json.loads(read("models/model.json"))["graph_module"]
    tensors = json.loads(read("data/weights/model_weights_config.json"))["config"]
    weights, num_params, files, inputs = {}, 0, set(), []
    for spec in program["signature"]["input_specs"]:
        ((kind, given),) = spec.items()
        if kind == "user_input":
            inputs.append(given["arg"]["as_tensor"]["name"])
            continue
        tensor = tensors[given[f"{kind}_name"]]
        weights[given["arg"]["name"]] = _tensor(tensor, read(f"data/weights/{tensor['path_name']}"))
        if kind == "parameter" and tensor["path_name"] not in files:
            num_params += weights[given["arg"]["name"]].numel()
        files.add(tensor["path_name"])
    (input_name,) = inputs
    return TorchProgram(path, about, num_params, _steps(program["graph"], path), weights, input_name)


def _tensor(about: Mapping[str, Any], content: bytes) -> Tensor:
    """Return a tensor of the file, which lies there as its bytes."""
    meta = about["tensor_meta"]
    if about["use_pickle"]:
        raise ValueError(f"{about['path_name']} is a pickle, which could run code")
    dtype, shape = _DTYPES[meta["dtype"]], [size["as_int"] for size in meta["sizes"]]
    array = np.frombuffer(content, dtype=np.int64 if dtype == torch.int64 else np.float32).reshape(shape)
    return torch.from_numpy(array.copy())


def _steps(graph: Mapping[str, Any], path: Path) -> list[_Step]:
    steps: list[_Step] = []
    for node in graph["nodes"]:
        if node["target"] == _ASSERTION:
            continue
        if node["target"] not in _OPERATORS:
            raise VerificationError(f"{path} calls {node['target']}, which no exported network does; it is not run")
        args = [_argument(given["arg"]) for given in node["inputs"] if given["kind"] == 1]
        kwargs = {given["name"]: _argument(given["arg"]) for given in node["inputs"] if given["kind"] == 2}
        (output,) = node["outputs"]
        steps.append(_Step(_OPERATORS[node["target"]], args, kwargs, output["as_tensor"]["name"], []))
    (result,) = graph["outputs"]
    if not steps or result["as_tensor"]["name"] != steps[-1].output:
        raise ValueError("the last operator does not give the result")
    read_later: set[str] = set()
    for step in reversed(steps):
        read = {a.name for a in (*step.args, *step.kwargs.values()) if isinstance(a, _Name)}
        step.last_read.extend(read - read_later)
        read_later |= read
    return steps


def _argument(given: Mapping[str, Any]) -> Any:
    ((kind, value),) = given.items()
    match kind:
        case "as_tensor":
            return _Name(value["name"])
        case "as_none":
            return None
        case "as_scalar_type":
            return _DTYPES[value]
        case "as_int" | "as_float" | "as_bool" | "as_ints":
            return value
    raise ValueError(f"an argument is given {kind}")
