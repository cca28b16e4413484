"""What may be sampled: the schema of a search space, genes to an architecture, fitting a budget."""

from nas.space.assemble import Candidate, Genes, assemble, candidate, fit_candidate, is_valid, recipe_of
from nas.space.domains import Choice, Domain, FloatRange, IntRange, Value, domain_text
from nas.space.draw import Draw, draw_network, draw_networks, fit_network, random_genes
from nas.space.gene_prior import Prior
from nas.space.genes_of import genes_of
from nas.space.prior import draw_from_prior, log_prior
from nas.space.reachable import require_reachable
from nas.space.schema import KEYS, SHIPPED, Space, decode_space, load_space
from nas.space.size_range import least_network, most_network

__all__ = [
    "KEYS",
    "SHIPPED",
    "Candidate",
    "Choice",
    "Domain",
    "Draw",
    "FloatRange",
    "Genes",
    "IntRange",
    "Prior",
    "Space",
    "Value",
    "assemble",
    "candidate",
    "decode_space",
    "domain_text",
    "draw_from_prior",
    "draw_network",
    "draw_networks",
    "fit_candidate",
    "fit_network",
    "genes_of",
    "is_valid",
    "least_network",
    "load_space",
    "log_prior",
    "most_network",
    "random_genes",
    "recipe_of",
    "require_reachable",
]
