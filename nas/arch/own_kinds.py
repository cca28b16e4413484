"""Kinds of blocks of a person's own: registered in Python, checked at once, and from there on as those of nas."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields

from nas.arch.description import NAME, Architecture, Block, Head, Input, Option
from nas.arch.digest import digest_of
from nas.arch.kinds import KINDS, SHIPPED_KINDS, Kind, Value
from nas.arch.lowering import lower
from nas.errors import ArchitectureError, NasError, UsageError

MAX_VALUES = 100  # of an option
# What options cannot be called: a space has genes of these names for a stage or a block.
_TAKEN = {"first", "growing", "count", "blocks", "junction", "pool", "pool_size"} | {f.name for f in fields(Block)}


def register_block(
    name: str,
    build: Callable[..., object],
    *,
    options: Mapping[str, Sequence[Value]] | None = None,
    activates: bool = True,
) -> None:
    """Have blocks of the kind `name`, in spaces and architectures that are opened from now on in this process.

    `build(block, **options)` is called with a `BlockBuilder` and adds the layers of one block to it, from its input up
    to its last norm. That norm, the shortcut, the activation and the dropout of the block follow by themselves. It is
    called for whatever channels and widths a search comes upon, so that it has to work for all, and makes the same
    layers for the same. Registering a name again replaces what it stood for.

    Args:
        name: of the kind: 2 to 30 small letters and underscores.
        build: the function.
        options: the values that each option may have, its default first. In a space each is a key,
            `block.<option>`. Names are those of Python, and none that blocks or stages have already.
        activates: whether the block's activation follows; else its last layer is linear, as in `inverted` blocks.

    Raises:
        UsageError: a name or value cannot be, the function fails, or its layers do not fit together or to the block.
        InvalidError: it makes layers that cannot be, such as a convolution of half a channel.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z_]{1,29}", name):
        raise UsageError(f"a block kind {name!r:.80}: its name has 2 to 30 small letters and underscores")
    if name in (*SHIPPED_KINDS, "any"):
        raise UsageError(f"a block kind {name!r}: nas has one of this name; choose another")
    known = {key: tuple(values) for key, values in (options or {}).items()}
    for key, values in known.items():
        _check_option(name, key, values)
    before = KINDS.get(name)
    KINDS[name] = Kind(build, name, activates, options=known)
    try:
        digests = [_digest(block, channels) for block, channels in _examples(name, known)]
    except NasError:
        del KINDS[name]
        if before:
            KINDS[name] = before
        raise
    fingerprint = hashlib.sha256("".join(digests).encode()).hexdigest()[:16]
    KINDS[name] = Kind(build, name, activates, options=known, fingerprint=fingerprint)


def _check_option(kind: str, key: str, values: tuple[Value, ...]) -> None:
    what = f"a block kind {kind!r}: its option {key!r:.80}"
    if not isinstance(key, str) or not re.fullmatch(NAME, key) or key in _TAKEN or key.startswith("transition_"):
        raise UsageError(
            f"{what} cannot be called so; choose a name of at most 30 letters, digits and underscores that no other "
            f"key of blocks has"
        )
    if not 1 <= len(values) <= MAX_VALUES or len(set(values)) < len(values):
        raise UsageError(f"{what} has {len(values)} values: give 1 to {MAX_VALUES}, each once")
    is_plain = all(type(v) in (str, bool, int) or (type(v) is float and math.isfinite(v)) for v in values)
    if not is_plain or len({type(value) for value in values}) > 1:
        raise UsageError(f"{what} has the values {values!r:.80}: give whole numbers, numbers, texts, or True and False")
    for other, about in KINDS.items():
        if other != kind and about.options.get(key, values) != values:
            raise UsageError(f"{what} has other values than that of kind {other!r}; choose another name")


def _examples(name: str, options: Mapping[str, tuple[Value, ...]]) -> Iterator[tuple[Block, int]]:
    """Yield blocks of a kind with the channels that go in: each value of each option, and shapes of all sorts."""
    defaults = tuple(Option(key, values[0]) for key, values in options.items())
    for channels, width, kernel, stride in itertools.product((1, 3, 16), (1, 8, 16), (3, 5), (1, 2)):
        yield Block(width, name, kernel, stride, options=defaults), channels
    yield Block(16, name, padding="valid", options=defaults), 8
    yield Block(16, name, groups=4, options=defaults), 8
    for key, values in options.items():
        for value in values[1:]:
            others = tuple(option for option in defaults if option.name != key)
            yield Block(16, name, options=(*others, Option(key, value))), 8


def _digest(block: Block, channels: int) -> str:
    """Return the digest of a network with `block` alone.

    Raises:
        UsageError: there is no such network, or the block makes a map of another size than others do.
    """
    asked = f"{channels} channels to {block.width}, kernel {block.kernel}, stride {block.stride}"
    what, size = f"a block kind {block.kind!r}, for {asked}, padding {block.padding!r}", 32
    try:
        layers = lower(Architecture(Input(channels, size, size), 2, (block,), Head("flatten_linear")))
    except ArchitectureError as error:
        raise UsageError(f"{what}: {'; '.join(error.problems)}") from None
    expected = -(-size // block.stride)
    found = layers[-1].input_shape[1:]
    if block.padding == "same" and found != (expected, expected):
        made = "x".join(map(str, found))
        raise UsageError(f"{what}: a map of {size}x{size} becomes one of {made}, and has to be {expected}x{expected}")
    return digest_of(layers)
