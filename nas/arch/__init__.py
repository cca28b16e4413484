"""What an architecture is: described, lowered to layers, counted, named by a digest. Standard library only."""

from nas.arch.costs import COUNTED, Budget, Costs, Count, costs_of, counted_layers
from nas.arch.description import Architecture, Block, Head, Input, NormAct, Pool, Transition
from nas.arch.digest import canonical_form, digest_of
from nas.arch.files import ArchitectureFile, architecture_from_plain, architecture_to_plain, read_architecture
from nas.arch.folding import Int8Layers, fold_layers, int8_arrays, merge_relu
from nas.arch.kinds import BlockBuilder
from nas.arch.lowering import IMAGE, Call, Layer, calls, lower
from nas.arch.memory_plan import plan_memory
from nas.arch.microcontroller import flash_bytes, max_work_bytes, ram_bytes
from nas.arch.outline import explain_outlines, outline
from nas.arch.own_kinds import register_block
from nas.arch.recipe import Recipe, recipe_digest
from nas.arch.table import layer_rows, layer_table, sketch

__all__ = [
    "COUNTED",
    "IMAGE",
    "Architecture",
    "ArchitectureFile",
    "Block",
    "BlockBuilder",
    "Budget",
    "Call",
    "Costs",
    "Count",
    "Head",
    "Input",
    "Int8Layers",
    "Layer",
    "NormAct",
    "Pool",
    "Recipe",
    "Transition",
    "architecture_from_plain",
    "architecture_to_plain",
    "calls",
    "canonical_form",
    "costs_of",
    "counted_layers",
    "digest_of",
    "explain_outlines",
    "flash_bytes",
    "fold_layers",
    "int8_arrays",
    "layer_rows",
    "layer_table",
    "lower",
    "max_work_bytes",
    "merge_relu",
    "outline",
    "plan_memory",
    "ram_bytes",
    "read_architecture",
    "recipe_digest",
    "register_block",
    "sketch",
]
