"""What a Python module that was exported says in plain literals, read without running it; and the network that it is.

A module is read by `ast` alone, and its weights as data: nothing that a stranger wrote runs here.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.arch import Architecture, Input, Layer, Recipe, architecture_from_plain, digest_of, lower
from nas.costs import costs_of
from nas.decode import decode
from nas.errors import NasError, VerificationError, describe
from nas.model.build import build
from nas.model.exported_file import require_file
from nas.model.metadata import LATER_CLAIMS, MAX_NUMBERS, Metadata, is_input_shape
from nas.model.python_source import module_source, provenance_in
from nas.model.trained_network import TrainedNetwork, Weights

EXPORT_AGAIN = "export it again from its study: nas export NAME -o FILE.py"
ADVICE = f"give it as it was exported, or {EXPORT_AGAIN}"


class ModuleText:
    """The text of a module, with the literals that it assigns to names."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            VerificationError: it is missing, or is not Python.
        """
        require_file(path, "module")
        self.path = path
        try:
            self.tree = ast.parse(path.read_bytes(), str(path))
        except SyntaxError as error:
            line = f" (line {error.lineno})" if error.lineno else ""
            raise VerificationError(f"{path} is not valid Python: {error.msg}{line}") from error
        except ValueError as error:  # what Python before 3.11.4 raises for a zero byte
            raise VerificationError(f"{path} is not valid Python: {error}") from error
        except (OSError, RecursionError, MemoryError) as error:
            raise VerificationError(f"{path} cannot be read as Python: {describe(error)}") from error
        self._constants: dict[str, Any] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and isinstance(name := node.targets[0], ast.Name):
                self._constants[name.id] = _literal(node.value)

    def constant(self, name: str, kind: type) -> Any:
        """Return the literal that is assigned to `name`.

        Raises:
            VerificationError: there is none, or it is not of the `kind`.
        """
        value = self._constants.get(name)
        if not isinstance(value, kind):
            what = "does not define" if value is None else f"has a {type(value).__name__} as"
            raise VerificationError(
                f"{self.path} {what} {name}, a {kind.__name__}; give a module that `nas export` wrote"
            )
        return value

    def metadata(self) -> Metadata:
        """Return what the module says of itself.

        Raises:
            VerificationError: a constant is missing, or is not what an export writes.
        """
        claims, input_shape = self.constant("CLAIMS", dict), self.constant("INPUT_SHAPE", tuple)
        mean, std = (self.constant(name, tuple) for name in ("MEAN", "STD"))
        # Modules of version 0.1 do not name their classes.
        class_names = self.constant("CLASSES", tuple) if "CLASSES" in self._constants else ()
        if not is_input_shape(input_shape):
            raise VerificationError(
                f"{self.path}: INPUT_SHAPE is {str(input_shape)[:100]} and must be (channels, height, width), at most "
                f"{MAX_NUMBERS:,} numbers"
            )
        for name, numbers in (("MEAN", mean), ("STD", std)):
            if len(numbers) != input_shape[0] or any(type(n) not in (int, float) for n in numbers):
                raise VerificationError(f"{self.path}: {name} is {numbers!r} and must be {input_shape[0]} numbers")
        if any(not isinstance(name, str) for name in class_names):
            raise VerificationError(f"{self.path}: CLASSES is {class_names!r} and must be names")
        return Metadata(claims, input_shape, mean, std, class_names)

    def architecture(self) -> Architecture:
        """Return the architecture that the module names.

        Raises:
            VerificationError: it names none, or one that cannot be.
        """
        if "ARCHITECTURE" not in self._constants:
            raise VerificationError(
                f"{self.path} has no ARCHITECTURE to export: an earlier version of nas wrote it; {EXPORT_AGAIN}"
            )
        try:
            architecture = architecture_from_plain(self.constant("ARCHITECTURE", dict), "ARCHITECTURE")
            lower(architecture)
        except NasError as error:
            raise VerificationError(f"{self.path}: {describe(error)}; {ADVICE}") from None
        return architecture

    def recipe(self) -> Recipe:
        """Return the recipe that the module names. Raises VerificationError where it names none that can be."""
        try:
            return decode(Recipe, self.constant("RECIPE", dict), "RECIPE")
        except NasError as error:
            raise VerificationError(f"{self.path}: {describe(error)}; {ADVICE}") from None

    def classes(self) -> dict[str, str]:
        """Return the code of each class by its name, whatever its comments, docstrings and line breaks."""
        return _classes(self.tree)


@dataclass(frozen=True, slots=True)
class ModuleNetwork:
    """The network of a module, with all that it takes to write it in another format."""

    network: TrainedNetwork
    claims: Mapping[str, object]  # JSON
    provenance: str  # where the network comes from: paragraphs of prose


def read_module_network(path: Path) -> ModuleNetwork:
    """Return the network of the module at `path` with the weights beside it. Nothing in either file is run.

    Raises:
        VerificationError: a file is missing, or is not what `nas export` wrote; the module is one of an earlier
            version, without its architecture; or its class, claims, architecture and weights do not agree.
        ExportError: the claims are not plain data.
    """
    text = ModuleText(path)
    about, architecture, recipe = text.metadata(), text.architecture(), text.recipe()
    layers = lower(architecture)
    _require_agreement(text, about, architecture, layers)
    source = module_source(
        architecture,
        provenance="",
        claims={},
        weights_name=None,
        mean=about.mean,
        std=about.std,
        class_names=about.class_names,
        recipe=recipe,
    )
    written = text.classes()
    for name, code in _classes(ast.parse(source)).items():
        if written.get(name) != code:
            raise VerificationError(
                f"{path}: the code of class {name} is not that of ARCHITECTURE, which is what is exported; {ADVICE}"
            )
    weights = _read_weights(path, layers)
    claims = json.loads(about.to_json())["claims"]
    provenance = provenance_in(ast.get_docstring(text.tree) or "", claims)
    network = TrainedNetwork(architecture, recipe, weights, about.mean, about.std, about.class_names)
    return ModuleNetwork(network, claims, provenance)


def _require_agreement(text: ModuleText, about: Metadata, architecture: Architecture, layers: list[Layer]) -> None:
    """Raise VerificationError where the module says of itself what its architecture does not show."""
    if Input(*about.input_shape) != architecture.input:
        raise VerificationError(
            f"{text.path}: INPUT_SHAPE is {about.input_shape}, and ARCHITECTURE is for another; {ADVICE}"
        )
    for claim, value in {**costs_of(layers).counts(), "digest": digest_of(layers)}.items():
        if claim in LATER_CLAIMS - about.claims.keys():
            continue
        if about.claims.get(claim) != value:
            raise VerificationError(
                f"{text.path}: CLAIMS says that {claim} is {str(about.claims.get(claim))[:100]}, and it is {value} of "
                f"ARCHITECTURE; {ADVICE}"
            )


def _read_weights(module: Path, layers: list[Layer]) -> Weights:
    """Return the weights beside a module. Raises VerificationError where they are missing, or of another network."""
    path, advice = module.with_suffix(".pt"), "keep beside the module, under its name, the weights that came with it"
    if not path.is_file():
        raise VerificationError(f"{path} is not there; {advice}")
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)
        weights = {str(name): tensor.detach().numpy() for name, tensor in plain.items()}
    except Exception as error:  # torch says nothing of what a damaged archive raises
        raise VerificationError(f"{path} is no file of weights: {describe(error)}; {advice}") from error
    with torch.device("meta"):  # shapes alone, however large a network is asked for
        state = build(layers).state_dict()
    expected = {name: _shape_text(str(t.dtype).removeprefix("torch."), t.shape) for name, t in state.items()}
    found = {name: _shape_text(array.dtype.name, array.shape) for name, array in weights.items()}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise VerificationError(
                f"{path}: {name} is {found.get(name, 'missing')}, and in {module} it is "
                f"{expected.get(name, 'not there')}; {advice}"
            )
    return weights


def _shape_text(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} of shape {tuple(shape)}"


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal; None for anything else."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None


def _classes(tree: ast.Module) -> dict[str, str]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in (inner for one in classes for inner in ast.walk(one)):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            del node.body[0]
    return {one.name: ast.dump(one) for one in classes}
