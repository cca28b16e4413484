"""A network in one line, and what its marks mean."""

from __future__ import annotations

from nas.arch import Architecture, Block, Head, Input, Pool, Transition, explain_outlines, outline


def test_every_part_is_in_the_line() -> None:
    body = (
        Block(8),
        Block(12, kind="separable", kernel=5, stride=2),
        Pool(),
        Block(12, kind="inverted", expansion=3, groups=4, repeat=2, shortcut="identity"),
        Transition(6),
        Pool("average", 3, 1),
    )
    line = outline(Architecture(Input(1, 28, 28), 10, body, Head("conv_gap")))
    assert line == "8 s12k5/2 | i12e3g4x2+ >6 :3/1 conv_gap"
    explained = explain_outlines([line]).split("; ")
    assert len(explained) == 13
    assert explained[:4] == [
        "8: a convolution to 8 channels",
        "s: a separable one",
        "i…e: an inverted bottleneck and its expansion",
        "k: the kernel, where it is not 3",
    ]


def test_marks_that_are_not_there_are_not_explained() -> None:
    assert explain_outlines(["8 | 12 gap_conv"]) == (
        "8: a convolution to 8 channels; |: a max pool; gap_conv: the average of each map, and a 1x1 convolution"
    )
    assert "separable" in explain_outlines(["8 gap_conv", "/s12 gap_conv"])  # as version 0.2 wrote a stride
    assert explain_outlines([]) == ""
