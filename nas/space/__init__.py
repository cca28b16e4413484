"""What may be sampled: the schema of a search space, genes to an architecture, fitting a budget."""

from nas.space.assemble import Candidate, Genes, assemble, candidate, fitting, recipe_of
from nas.space.domains import Choice, Domain, FloatRange, IntRange, Value
from nas.space.draw import (
    Draw,
    draw_network,
    draw_networks,
    least_network,
    most_network,
    random_genes,
    require_reachable,
)
from nas.space.images import KNOWN_IMAGES
from nas.space.schema import KEYS, SHIPPED, Space, decode_space, load_space

__all__ = [
    "KEYS",
    "KNOWN_IMAGES",
    "SHIPPED",
    "Candidate",
    "Choice",
    "Domain",
    "Draw",
    "FloatRange",
    "Genes",
    "IntRange",
    "Space",
    "Value",
    "assemble",
    "candidate",
    "decode_space",
    "draw_network",
    "draw_networks",
    "fitting",
    "least_network",
    "load_space",
    "most_network",
    "random_genes",
    "recipe_of",
    "require_reachable",
]
