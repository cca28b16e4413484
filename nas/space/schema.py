"""The schema of a search space: its TOML keys, what each may hold, and the flat set of genes that follows.

A network is a row of stages. A stage is a row of blocks; between two stages lies a junction (a pool, a transition,
both in either order, or a stride in the next block). Keys are the same for every space; a key that a space leaves
out has the default given here, a constant.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

from nas.arch import Head, Input, NormAct, Recipe
from nas.arch.description import (
    Activation,
    DropoutKind,
    DropoutRate,
    Expansion,
    Groups,
    Norm,
    Order,
    Padding,
    Width,
)
from nas.arch.kinds import KINDS, SHIPPED_KINDS, problem_of_kind
from nas.arch.recipe import LATER_SETTINGS
from nas.decode import Bounds, Note, decode_part, read_toml
from nas.errors import InvalidError, SpaceError, near_misses
from nas.space.domains import Choice, Domain, Scope, Setting, Value, decode_setting, domain_text
from nas.space.gene_prior import Prior, decode_prior
from nas.space.old_names import has_old_names, new_value, old_domain, old_name, old_value, with_new_values

# Beside the package in a checkout, inside it in a wheel.
SHIPPED = next(p / "search_spaces" for p in Path(__file__).resolve().parents[1:3] if (p / "search_spaces").is_dir())

Junction = Literal["pool", "transition", "transition_pool", "pool_transition", "stride"]


class Key(NamedTuple):
    """One key of a space file."""

    hint: Any  # the type of each value, as nas.decode understands it
    default: Value
    meaning: str
    per: Scope = "network"  # what draws a value of its own, unless the file says otherwise
    is_later: bool = False  # not known to the first spaces, so that digests pass over it where it has its default


@dataclass(frozen=True, slots=True)
class KindName(Note):
    """Says of a text that it is the name of a kind of block, also of one that was registered meanwhile."""

    also: tuple[str, ...] = ()  # what may stand in place of a name

    def problem(self, value: str) -> str | None:
        """Return what is wrong with `value`, or None."""
        return problem_of_kind(value, self.also)


_HEAD = get_type_hints(Head, include_extras=True)
_RECIPE = get_type_hints(Recipe, include_extras=True)

KEYS: dict[str, Key] = {
    "stages.count": Key(Annotated[int, Bounds(1, 8)], 3, "stages of the network"),
    "stages.blocks": Key(Annotated[int, Bounds(1, 8)], 2, "blocks of a stage", "stage"),
    "stages.junction": Key(Junction, "pool", "what lies between two stages", "stage"),
    "stages.pool": Key(Literal["max", "average"], "max", "kind of the pools"),
    "stages.pool_size": Key(Annotated[int, Bounds(2, 8)], 2, "pixels, the pools' window and stride"),
    "block.kind": Key(Annotated[str, KindName()], "plain", "how a block convolves", "block"),
    "block.first": Key(Annotated[str, KindName(("any",))], "any", "kind of the very first block; any leaves it free"),
    "block.width": Key(Width, 16, "output channels of a block", "block"),
    "block.growing": Key(bool, False, "whether draws put the widths of the blocks in ascending order"),
    "block.kernel": Key(Annotated[int, Bounds(1, 31)], 3, "pixels, odd where the padding is same", "block"),
    "block.padding": Key(Padding, "same", "same keeps the map's size, valid shrinks it", "block"),
    "block.shortcut": Key(
        Literal["none", "auto"],
        "none",
        "auto adds the block's input, through a 1x1 convolution if widths differ",
        "block",
    ),
    "block.repeat": Key(
        Annotated[int, Bounds(1, 16)], 1, "uses of a block with shared weights, where its width stays the same", "block"
    ),
    "block.expansion": Key(
        Expansion, 4, "channels within an inverted block, as a multiple of those that go in", "block", is_later=True
    ),
    "block.groups": Key(
        Groups,
        1,
        "most groups of a block's convolutions, as far as its channels divide into them",
        "block",
        is_later=True,
    ),
    "norm_act.bias": Key(bool, False, "whether convolutions have a bias"),
    "norm_act.norm": Key(Norm, "batch", "norm of the blocks"),
    "norm_act.activation": Key(Activation, "relu", "activation of the blocks"),
    "norm_act.order": Key(Order, "norm_first", "norm before the activation or after"),
    "norm_act.dropout": Key(DropoutRate, 0.0, "probability that an element or a channel is zeroed"),
    "norm_act.dropout_kind": Key(DropoutKind, "element", "what dropout zeroes"),
    "norm_act.last": Key(Literal["full", "no_norm", "none"], "full", "which part of it the last block has"),
    "norm_act.middle": Key(
        get_type_hints(NormAct)["middle"],
        "same",
        "norm between the convolutions of a separable or inverted block",
        is_later=True,
    ),
    "transition.width": Key(Width, 8, "output channels of a 1x1 transition", "stage"),
    "transition.norm_act": Key(Literal["none", "blocks"], "none", "norm and activation of the transitions"),
    "head.kind": Key(_HEAD["kind"], "gap_linear", "how features become classes"),
    "head.bias": Key(_HEAD["bias"], True, "whether the classifier has a bias"),
    "head.kernel": Key(_HEAD["kernel"], 1, "pixels; conv_gap only"),
    "head.padding": Key(_HEAD["padding"], "valid", "conv_gap only"),
    **{
        f"recipe.{f.name}": Key(
            _RECIPE[f.name], f.default, "see nas.arch.recipe.Recipe", is_later=f.name in LATER_SETTINGS
        )
        for f in fields(Recipe)
        if isinstance(f.default, (int, float, str, bool))
    },
}


def all_keys() -> dict[str, Key]:
    """Return `KEYS`, and a key for each option of the kinds of blocks that a person has registered."""
    keys = dict(KEYS)
    for kind_name, kind in KINDS.items():
        for name, values in kind.options.items():
            meaning = f"an option of blocks of kind {kind_name}"
            keys[f"block.{name}"] = Key(Literal[values], values[0], meaning, "block", is_later=True)
    return keys


@dataclass(frozen=True, eq=False)  # compared by digest; identity serves as a cache key
class Space:
    """What may be sampled, for images of one shape and a number of classes."""

    name: str
    summary: str
    settings: Mapping[str, Setting]  # one for every key of `all_keys`
    input: Input
    classes: int
    source: Path  # the file that it was read from
    has_old_names: bool = False  # whether its genes are called as in `nas.space.old_names`
    priors: Mapping[str, Prior] = field(default_factory=dict)  # by gene, of those that the file says something about
    keys: Mapping[str, str] = field(init=False)  # gene to the key that it holds a value for
    genes: Mapping[str, Domain] = field(init=False)  # every value that the sampler chooses; flat, fixed and ordered

    def __post_init__(self) -> None:
        """Derive the genes."""
        keys = _gene_keys(self.settings, self.has_old_names)
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "genes", {name: self.gene_domain(key) for name, key in keys.items()})

    def gene(self, key: str, stage: int = 1, block: int = 1) -> str:
        """Return the gene that holds `key` at a stage and block (from 1): 'stage1.block2.width', 'head.kind'."""
        name = _gene_name(key, self.settings[key].per, stage, block)
        return old_name(name) if self.has_old_names else name

    def gene_domain(self, key: str) -> Domain:
        """Return the domain of `key` with its values as genes have them."""
        return _gene_domain(self.settings, key, self.has_old_names)

    def gene_value(self, key: str, value: Value) -> Value:
        """Return `value` of `key` as genes have it; the inverse of `value`."""
        return old_value(key, value) if self.has_old_names else value

    def value(self, genes: Mapping[str, Value], key: str, stage: int = 1, block: int = 1) -> Value:
        """Return the value of `key` at a stage and block (from 1): a gene's, or the constant."""
        domain = self.settings[key].domain
        if isinstance(domain, Choice) and len(domain.options) == 1:
            return domain.options[0]
        value = genes[self.gene(key, stage, block)]
        return new_value(key, value) if self.has_old_names else value

    @functools.cached_property
    def plain_genes(self) -> dict[str, Value]:
        """Return a value for every gene: the default of its key where its domain has that, else the first there is."""
        known = all_keys()
        defaults = {name: self.gene_value(key, known[key].default) for name, key in self.keys.items()}
        return {n: defaults[n] if d.contains(defaults[n]) else d.values()[0] for n, d in self.genes.items()}

    @functools.cached_property
    def width_genes(self) -> tuple[str, ...]:
        """Return the genes that are widths, which a repair may change."""
        return tuple(name for name, key in self.keys.items() if key in ("block.width", "transition.width"))

    @functools.cached_property
    def digest(self) -> str:
        """Return 16 hexadecimal digits, equal for equal settings, input and classes, whatever the name."""
        settings, known = {}, all_keys()
        for key, setting in self.settings.items():
            if known[key].is_later and setting.domain == Choice((known[key].default,)):
                continue
            # Constants go by their old names whatever the file has, so that either kind of file resumes a study.
            if self.has_old_names or setting.domain.size == 1:
                settings[old_name(key)] = Setting(old_domain(key, setting.domain), setting.per)
            else:
                settings[key] = setting
        parts: list[Any] = [{k: repr(s) for k, s in sorted(settings.items())}, repr(self.input), self.classes]
        if self.priors:  # a space without any has the digest that it had before there were priors
            parts.append({name: prior.text for name, prior in sorted(self.priors.items())})
        kinds = {str(v) for key in ("block.kind", "block.first") for v in self.settings[key].domain.values()}
        if own := {name: KINDS[name].fingerprint for name in sorted(kinds - {*SHIPPED_KINDS, "any"})}:
            parts.append(own)
        text = json.dumps(parts)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@functools.cache
def _gene_name(key: str, per: Scope, stage: int, block: int) -> str:
    if per == "network":
        return key
    last = key.split(".")[-1]
    if key.startswith("transition."):
        last = f"transition_{last}"
    return f"stage{stage}.{last}" if per == "stage" else f"stage{stage}.block{block}.{last}"


def _gene_domain(settings: Mapping[str, Setting], key: str, is_old: bool) -> Domain:
    domain = settings[key].domain
    return old_domain(key, domain) if is_old else domain


def _gene_keys(settings: Mapping[str, Setting], is_old: bool) -> dict[str, str]:
    stages = range(1, int(max(settings["stages.count"].domain.values())) + 1)
    blocks = range(1, int(max(settings["stages.blocks"].domain.values())) + 1)
    junctions = settings["stages.junction"].domain.values()
    keys: dict[str, str] = {}
    for key, (domain, per) in ((k, (s.domain, s.per)) for k, s in settings.items()):
        if domain.size == 1:
            continue
        if key == "transition.width" and not any("transition" in str(j) for j in junctions):
            continue
        # A junction lies behind its stage, so the last stage has none.
        behind = key in ("stages.junction", "transition.width")
        for stage in stages if per != "network" else [1]:
            if behind and per == "stage" and stage == stages[-1]:
                continue
            for block in blocks if per == "block" else [1]:
                name = _gene_name(key, per, stage, block)
                keys[old_name(name) if is_old else name] = key
    return keys


def load_space(name: str, input: Input, classes: int) -> Space:
    """Return the shipped space called `name`, or the one in the TOML file at that path.

    Raises:
        SpaceError: there is no such space; names the near misses.
        InvalidError: the file has problems; names them all.
    """
    path = Path(name)
    if path.suffix != ".toml":
        shipped = {p.stem: p for p in sorted(SHIPPED.glob("*.toml"))}
        if name not in shipped:
            raise SpaceError(f"unknown space {name!r}; {near_misses(name, shipped)}; or give the path of a .toml file")
        path = shipped[name]
    return decode_space(read_toml(path), path, input, classes)


def decode_space(plain: Mapping[str, Any], source: Path, input: Input, classes: int) -> Space:
    """Return the space that the document `plain`, read from the file `source`, describes.

    Raises:
        InvalidError: with every problem found.
    """
    problems: list[str] = []
    flat: dict[str, Any] = {}
    is_old, keys = has_old_names(plain), all_keys()
    names = {key: old_name(key) if is_old else key for key in keys}  # as the file has them
    sections = {*(name.split(".")[0] for name in names.values()), "prior"}
    for section, content in plain.items():
        if section in ("name", "summary"):
            decode_part(str, content, section, problems)
        elif section not in sections:
            problems.append(f"{section}: unknown key; {near_misses(section, sections)}")
        elif not isinstance(content, Mapping):
            problems.append(f"{section}: {content!r} is not a table")
        elif section != "prior":
            flat.update({f"{section}.{k}": v for k, v in content.items()})
    settings = {}
    for name in flat:
        if name not in names.values():
            problems.append(f"{name}: unknown key; {near_misses(name, names.values())}")
    for key, (hint, default, _, per, _) in keys.items():
        name = names[key]
        content = flat.get(name, default)
        if is_old:
            content = with_new_values(key, content)
        setting = decode_setting(content, hint, per, name, problems)
        if setting is not None:
            settings[key] = setting
            if _RANK[setting.per] > _RANK[per]:
                problems.append(f"{name}.per: {setting.per!r} is finer than {per!r}, the finest for this key")
    is_complete = len(settings) == len(keys)
    _check_together(settings, is_complete, problems)
    stated = plain.get("prior", {})
    # Which genes there are is known once all settings are.
    has_genes = is_complete and isinstance(stated, Mapping)
    priors = _decode_priors(stated, settings, is_old, problems) if has_genes else {}
    if problems:
        raise InvalidError(str(source), problems)
    name, summary = str(plain.get("name", source.stem)), str(plain.get("summary", ""))
    return Space(name, summary, settings, input, classes, source, is_old, priors)


def _decode_priors(
    stated: Mapping[str, Any], settings: Mapping[str, Setting], is_old: bool, problems: list[str]
) -> dict[str, Prior]:
    """Return the priors by gene; `stated` has tables within tables, down to a key or to a gene.

    The prior of a key (`block.kind`) is that of all its genes, but for those (`stage1.block2.kind`) with their own.
    """
    keys = _gene_keys(settings, is_old)
    genes_of_key = {old_name(key) if is_old else key: [n for n, k in keys.items() if k == key] for key in settings}
    names = {**genes_of_key, **{gene: [gene] for gene in keys}}
    found: dict[str, Any] = {}

    def collect(content: Any, path: str) -> None:
        if path not in names and isinstance(content, Mapping):
            for name, part in content.items():
                collect(part, f"{path}.{name}" if path else name)
        else:
            found[path] = content

    collect(stated, "")
    priors: dict[str, Prior] = {}
    for path in sorted(found, key=lambda path: len(names.get(path, ())), reverse=True):
        genes = names.get(path)
        if genes is None:
            problems.append(f"prior.{path}: neither a key nor a gene of this space; {near_misses(path, names)}")
        elif not genes:
            problems.append(f"prior.{path}: nothing to choose, the key is a constant in this space; leave it out")
        else:
            domain = _gene_domain(settings, keys[genes[0]], is_old)
            prior = decode_prior(found[path], domain, f"prior.{path}", problems)
            if prior is not None:
                priors.update(dict.fromkeys(genes, prior))
    return priors


_RANK = {"network": 0, "stage": 1, "block": 2}
MAX_GENES = 400


def _check_together(settings: Mapping[str, Setting], is_complete: bool, problems: list[str]) -> None:
    """Append the problems that single keys cannot have."""
    for section in ("block", "head"):
        kernels, paddings = settings.get(f"{section}.kernel"), settings.get(f"{section}.padding")
        even = [v for v in kernels.domain.values() if int(v) % 2 == 0] if kernels else []
        if even and paddings and paddings.domain.contains("same"):
            problems.append(
                f"{section}.kernel: {even[0]} is even, and 'same' padding needs odd kernels; use odd ones (such as "
                "low = 3, high = 7, step = 2), or padding = 'valid'"
            )
    epochs = settings.get("recipe.epochs")
    if epochs is not None and epochs.domain.size > 1:
        problems.append(
            f"recipe.epochs: {domain_text(epochs.domain)} is more than one value, and early stopping compares trials "
            "at the same epochs; use one number, and a study for each with `epochs`"
        )
    if is_complete and (count := len(_gene_keys(settings, False))) > MAX_GENES:
        problems.append(f"the space has {count} genes, more than {MAX_GENES}, the most; use fewer stages or blocks")
