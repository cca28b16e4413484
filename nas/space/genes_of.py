"""The inverse of assembling: the genes of an architecture that was described by hand, or why it has none."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from nas.arch import Architecture, Block, Head, NormAct, Pool, Transition, digest_of, lower
from nas.arch.description import BodyItem
from nas.arch.kinds import KINDS, layers_of_block, layers_of_kind
from nas.errors import ArchitectureError, SpaceError
from nas.space.assemble import assemble, groups_of
from nas.space.domains import Value, domain_text
from nas.space.schema import Space


def genes_of(space: Space, architecture: Architecture) -> dict[str, Value]:
    """Return a value for every gene of `space`, so that they assemble to the network that `architecture` builds.

    The architecture is taken as it is written, but for a 1x1 block that can only be a transition (and the reverse)
    and a head that another name of the space's builds too. Genes without effect have their plain value.

    Raises:
        SpaceError: the architecture is no member of the space; gives every reason.
        ArchitectureError: it is no network at all.
    """
    digest = digest_of(lower(architecture))
    stages, problems = _split_into_stages(_match_vocabulary(space, architecture.body))
    if (architecture.input, architecture.classes) != (space.input, space.classes):
        problems.append(f"{_describe_images(architecture)}, and the space is for {_describe_images(space)}")
    readings = [_Reading(space, str(last), list(problems)) for last in space.settings["norm_act.last"].domain.values()]
    for reading in readings:
        reading.read(stages, _match_head(space, architecture, digest))
    best = min(readings, key=lambda reading: len(reading.problems))
    if best.problems:
        start = f"the architecture is no member of space {space.name!r}"
        raise SpaceError("\n  ".join([f"{start}; a copy of {space.source} could be widened:", *best.problems]))
    genes = {name: best.values.get(name, plain) for name, plain in space.plain_genes.items()}
    assert digest_of(lower(assemble(space, genes))) == digest
    return genes


def _describe_images(of: Architecture | Space) -> str:
    stem = of.input
    return f"images of {stem.channels}x{stem.height}x{stem.width} in {of.classes} classes"


@dataclass
class _Stage:
    blocks: list[tuple[str, Block]] = field(default_factory=list)  # each with its place in the architecture
    junction: list[tuple[str, Pool | Transition]] = field(default_factory=list)


def _match_vocabulary(space: Space, body: tuple[BodyItem, ...]) -> Iterator[tuple[str, BodyItem]]:
    """Yield the items with their places; a 1x1 convolution is a block or a transition, whichever the space has."""
    has_transitions = any("transition" in str(v) for v in space.settings["stages.junction"].domain.values())
    has_kernel_1 = space.settings["block.kernel"].domain.contains(1)
    for index, item in enumerate(body):
        if isinstance(item, Block) and has_transitions and not has_kernel_1 and item is not body[-1]:
            if item == Block(item.width, kernel=1, padding=item.padding, norm_act=item.norm_act):
                item = Transition(item.width, item.norm_act)
        elif isinstance(item, Transition) and has_kernel_1 and not has_transitions:
            item = Block(item.width, kernel=1, norm_act=item.norm_act)
        yield f"body[{index}]", item


def _split_into_stages(body: Iterator[tuple[str, BodyItem]]) -> tuple[list[_Stage], list[str]]:
    stages, problems = [_Stage()], []
    for where, item in body:
        stage = stages[-1]
        if not isinstance(item, Block):
            stage.junction.append((where, item))
        elif stage.junction or (item.stride > 1 and stage.blocks):
            stages.append(_Stage([(where, item)]))
        else:
            stage.blocks.append((where, item))
    if not stages[0].blocks:
        problems.append("the body does not begin with a block, as every network of a space does")
    if stages[-1].junction:
        problems.append(f"{stages[-1].junction[0][0]}: behind the last block only the head may come")
    return stages, problems


def _match_head(space: Space, architecture: Architecture, digest: str) -> Head:
    """Return the architecture's head, or one of the space that builds the same network."""
    written, settings = architecture.head, space.settings
    keys = [settings[f"head.{name}"].domain.values() for name in ("kind", "kernel", "padding")]
    combinations: list[Any] = sorted(itertools.product(*keys), key=lambda values: values[0] != written.kind)
    for kind, kernel, padding in combinations:
        head = Head(kind, written.bias, kernel, padding) if kind == "conv_gap" else Head(kind, written.bias)
        try:
            if digest_of(lower(replace(architecture, head=head))) == digest:
                return head
        except ArchitectureError:
            pass
    return written


class _Reading:
    """The values that an architecture asks of a space's genes, where the space's `norm_act.last` is `last`."""

    def __init__(self, space: Space, last: str, problems: list[str]) -> None:
        self.space = space
        self.problems = problems
        self.values: dict[str, Value] = {}  # by gene; those of constants too
        self.last = last
        self.middles: list[NormAct] = []  # of the blocks of several convolutions
        self.groups: dict[str, list[Value]] = {}  # by gene: the values that make the groups of all its blocks
        self._require("norm_act.last", last)

    def _require(self, key: str, value: Value, stage: int = 1, block: int = 1, where: str = "") -> None:
        domain, value = self.space.gene_domain(key), self.space.gene_value(key, value)
        name = self.space.gene(key, stage, block)
        place = f"{where}: " if where else ""
        if not domain.contains(value):
            self.problems.append(f"{place}{name} is {value!r}, and the space has {domain_text(domain)}")
        elif self.values.setdefault(name, value) != value:
            self.problems.append(f"{place}{name} is {value!r}, and {self.values[name]!r} elsewhere; it is one gene")

    def read(self, stages: list[_Stage], head: Head) -> None:
        self._require("stages.count", len(stages))
        channels = self.space.input.channels
        for number, stage in enumerate(stages, 1):
            self._require("stages.blocks", len(stage.blocks), number)
            for place, (where, block) in enumerate(stage.blocks, 1):
                self._block(block, number, place, channels, where)
                channels = block.width
                self._block_norm_act(block, where, is_last=stage is stages[-1] and place == len(stage.blocks))
            channels = self._junction(stages, number, channels)
        self._middle_norm()
        self._require("head.kind", head.kind)
        self._require("head.bias", head.bias)
        if head.kind == "conv_gap":
            self._require("head.kernel", head.kernel)
            if head.kernel > 1:
                self._require("head.padding", head.padding)

    def _junction(self, stages: list[_Stage], number: int, channels: int) -> int:
        """Require the values of a junction; return the channels that leave it."""
        words = []
        for where, item in stages[number - 1].junction:
            if isinstance(item, Pool):
                words.append("pool")
                self._require("stages.pool", item.kind, where=where)
                self._require("stages.pool_size", item.size, where=where)
                if item.stride not in (0, item.size):
                    self.problems.append(f"{where}: the pool's stride is {item.stride}, and the space has its size")
            else:
                words.append("transition")
                self._require("transition.width", item.width, number, where=where)
                self._transition_norm_act(item.norm_act, where)
                channels = item.width
        if number == len(stages):
            return channels
        where, block = stages[number].blocks[0]
        if block.stride > 1:
            words.append("stride")
            self._require("stages.pool_size", block.stride, where=where)
        self._require("stages.junction", "_".join(words), number)
        return channels

    def _block(self, block: Block, stage: int, number: int, channels: int, where: str) -> None:
        first = self.space.settings["block.first"].domain
        if stage == number == 1 and (first.contains(block.kind) or not first.contains("any")):
            self._require("block.first", block.kind, where=where)
        else:
            self._require("block.kind", block.kind, stage, number, where)
            if stage == number == 1:
                self._require("block.first", "any")
        if block.kind in KINDS and KINDS[block.kind].has_expansion:
            self._require("block.expansion", block.expansion, stage, number, where)
        if block.kind in KINDS and layers_of_kind(block, channels) != layers_of_block(block, channels):
            self.problems.append(f"{where}: its layers are not those that the kind {block.kind!r} makes here")
        elif block.kind in KINDS:
            for option in block.options:
                self._require(f"block.{option.name}", option.value, stage, number, where)
        self._block_groups(block, stage, number, channels, where)
        if stage == number == 1 and block.stride > 1:
            self.problems.append(f"{where}: the stride is {block.stride}, and the first block of a space has none")
        self._require("block.width", block.width, stage, number, where)
        self._require("block.kernel", block.kernel, stage, number, where)
        if block.kernel > 1:
            self._require("block.padding", block.padding, stage, number, where)
        keeps_shape = block.width == channels and block.stride == 1
        # Around a map that shrinks there is no shortcut, whatever the gene says.
        if block.kernel == 1 or block.padding == "same":
            self._require("block.shortcut", "none" if block.shortcut == "none" else "auto", stage, number, where)
        if block.shortcut == "projection" and keeps_shape:
            self.problems.append(f"{where}: a projection where the shape stays, and the space has an identity there")
        if keeps_shape:
            self._require("block.repeat", block.repeat, stage, number, where)
        elif block.repeat > 1:
            self.problems.append(f"{where}: a block of stride {block.stride} repeats, and in the space it does not")

    def _block_groups(self, block: Block, stage: int, number: int, channels: int, where: str) -> None:
        """Require a value that makes the groups of a block; several may, where its channels leave little choice."""
        name, domain = self.space.gene("block.groups", stage, number), self.space.settings["block.groups"].domain
        known = self.groups.get(name, domain.values())
        fitting = [v for v in known if groups_of(int(v), channels, block.width) == block.groups]
        if fitting:
            self.groups[name] = fitting
            self.values[name] = 1 if 1 in fitting else fitting[0]
        else:
            self.problems.append(
                f"{where}: {block.groups} groups of {channels} to {block.width} channels, and {name} has "
                f"{domain_text(domain)}{', one for all its blocks' if name in self.groups else ''}"
            )

    def _block_norm_act(self, block: Block, where: str, is_last: bool) -> None:
        norm_act = block.norm_act
        has_middle = _depends_on(block, middle="none" if norm_act.middle_norm != "none" else "batch")
        if has_middle and not (is_last and self.last == "none"):
            self.middles.append(norm_act)
        other_order = "activation_first" if norm_act.order == "norm_first" else "norm_first"
        if _depends_on(block, order=other_order):
            self._require("norm_act.order", norm_act.order, where=where)  # of those within, whatever the last norm is
        if not is_last or self.last == "full":
            self._norm_act(norm_act, where, block.shortcut != "none")
        elif self.last == "no_norm":
            if norm_act.norm != "none":
                self.problems.append(f"{where}: the last block has a norm, and norm_act.last is 'no_norm'")
            self._norm_act(norm_act, where, norm=False)
        else:
            if not _is_bias_alone(norm_act) or (has_middle and norm_act.middle_norm != "none"):
                self.problems.append(f"{where}: the last block has more than a bias, and norm_act.last is 'none'")
            self._require("norm_act.bias", norm_act.bias, where=where)

    def _transition_norm_act(self, norm_act: NormAct, where: str) -> None:
        alone = _is_bias_alone(norm_act) and self.space.settings["transition.norm_act"].domain.contains("none")
        self._require("transition.norm_act", "none" if alone else "blocks", where=where)
        if alone:
            self._require("norm_act.bias", norm_act.bias, where=where)
        else:
            self._norm_act(norm_act, where)

    def _norm_act(self, norm_act: NormAct, where: str, shortcut: bool = False, norm: bool = True) -> None:
        self._require("norm_act.bias", norm_act.bias, where=where)
        self._require("norm_act.activation", norm_act.activation, where=where)
        self._require("norm_act.dropout", norm_act.dropout, where=where)
        if norm_act.dropout:
            self._require("norm_act.dropout_kind", norm_act.dropout_kind, where=where)
        if norm:
            self._require("norm_act.norm", norm_act.norm, where=where)
            # A shortcut is added between the two, so that the order matters without an activation as well.
            if norm_act.norm != "none" and (norm_act.activation != "none" or shortcut):
                self._require("norm_act.order", norm_act.order, where=where)

    def _middle_norm(self) -> None:
        """Require the norm between two convolutions, as that of the blocks where all agree, else by its name."""
        wanted = [norm_act.middle_norm for norm_act in self.middles]
        domain = self.space.settings["norm_act.middle"].domain
        for value in sorted(domain.values(), key=lambda value: value != "same"):
            if wanted == [norm_act.norm if value == "same" else value for norm_act in self.middles]:
                if wanted:
                    self._require("norm_act.middle", value)
                return
        found = " and ".join(dict.fromkeys(wanted))
        self.problems.append(
            f"the norm between two convolutions is {found}, and norm_act.middle has {domain_text(domain)}, one for all"
        )


def _depends_on(block: Block, **norm_act: Any) -> bool:
    """Return whether the layers of a block up to its last norm are others with another `norm_act`."""
    other = replace(block, norm_act=replace(block.norm_act, **norm_act))
    return layers_of_kind(block, block.width) != layers_of_kind(other, block.width)


def _is_bias_alone(norm_act: NormAct) -> bool:
    """Return whether there is neither norm, activation nor dropout; the other fields but `bias` have no effect then."""
    return norm_act.norm == norm_act.activation == "none" and not norm_act.dropout
