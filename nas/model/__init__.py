"""Torch: layers to a module, to source text, and back."""

from nas.model.build import build, make_operation
from nas.model.source import module_source
from nas.model.trace import trace_layers
from nas.model.verify import Check, ExportedModule, load_exported, verify_structure

__all__ = [
    "Check",
    "ExportedModule",
    "build",
    "load_exported",
    "make_operation",
    "module_source",
    "trace_layers",
    "verify_structure",
]
