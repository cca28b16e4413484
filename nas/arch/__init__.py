"""What an architecture is: described, lowered to layers, named by a digest. Standard library only."""

from nas.arch.description import Architecture, Block, Head, Input, NormAct, Pool, Transition
from nas.arch.digest import canonical_form, digest_of
from nas.arch.files import ArchitectureFile, architecture_from_plain, architecture_to_plain, read_architecture
from nas.arch.kinds import BlockBuilder
from nas.arch.lowering import IMAGE, Call, Layer, calls, lower
from nas.arch.outline import explain_outlines, outline
from nas.arch.own_kinds import register_block
from nas.arch.recipe import Recipe, recipe_digest

__all__ = [
    "IMAGE",
    "Architecture",
    "ArchitectureFile",
    "Block",
    "BlockBuilder",
    "Call",
    "Head",
    "Input",
    "Layer",
    "NormAct",
    "Pool",
    "Recipe",
    "Transition",
    "architecture_from_plain",
    "architecture_to_plain",
    "calls",
    "canonical_form",
    "digest_of",
    "explain_outlines",
    "lower",
    "outline",
    "read_architecture",
    "recipe_digest",
    "register_block",
]
