"""A network in one line, such as `8 s12 | s17k5 gap_linear`, and what its marks mean."""

from __future__ import annotations

import re
from collections.abc import Iterable

from nas.arch.description import Architecture, Block, BodyItem, Pool, Transition
from nas.arch.kinds import KINDS, SHIPPED_KINDS

_MARKS = {  # what a mark looks like, and what it means
    r"(^|[ /])\d": "8: a convolution to 8 channels",
    r"(^|[ /])s\d": "s: a separable one",
    r"(^|[ /])i\d": "i…e: an inverted bottleneck and its expansion",
    r"[a-z_]{2,}\(": "name(…): a block of a kind of one's own, and its options",
    r"k\d": "k: the kernel, where it is not 3",
    r"/": "/: a stride",
    r"\dg\d": "g: groups",
    r"\dx\d": "x: times that it runs, with the same weights",
    r"\+": "+: a shortcut",
    r"\|": "|: a max pool",
    r":": ":: an average pool",
    r"[|:]\d": "with its pixels, where they are not 2",
    r">": ">: a 1x1 transition",
    r"gap_linear": "gap_linear: the average of each map, and a linear layer",
    r"gap_conv": "gap_conv: the average of each map, and a 1x1 convolution",
    r"conv_gap": "conv_gap: a convolution to the classes, and averages",
    r"flatten_linear": "flatten_linear: a linear layer of all that is left",
}


def outline(architecture: Architecture) -> str:
    """Return the body and head in one line; `explain_outlines` says what its marks mean."""
    return " ".join([*map(_word, architecture.body), architecture.head.kind])


def explain_outlines(outlines: Iterable[str]) -> str:
    """Return what the marks in the outlines mean, each once, and nothing of marks that they do not have."""
    lines = list(outlines)
    return "; ".join(text for mark, text in _MARKS.items() if any(re.search(mark, line) for line in lines))


def _word(item: BodyItem) -> str:
    if isinstance(item, Pool):
        size = item.size if item.size != 2 else ""
        stride = f"/{item.stride}" if item.stride not in (0, item.size) else ""
        return f"{'|' if item.kind == 'max' else ':'}{size}{stride}"
    if isinstance(item, Transition):
        return f">{item.width}"
    return _block(item)


def _block(block: Block) -> str:
    kernel = f"k{block.kernel}" if block.kernel != 3 else ""
    stride = f"/{block.stride}" if block.stride > 1 else ""
    groups = f"g{block.groups}" if block.groups > 1 else ""
    repeat = f"x{block.repeat}" if block.repeat > 1 else ""
    shortcut = "+" if block.shortcut != "none" else ""
    rest = f"{kernel}{stride}{groups}{repeat}{shortcut}"
    if block.kind not in SHIPPED_KINDS:
        options = "".join(f",{option.name}={option.value}" for option in block.options)
        return f"{block.kind}({block.width}{rest}{options})"
    kind = KINDS[block.kind]
    expansion = f"e{block.expansion}" if kind.has_expansion else ""
    return f"{kind.mark}{block.width}{expansion}{rest}"
