"""What an architecture is: an immutable value of input, ordered body and head. Knows nothing of torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from nas.arch.operations import ActivationName, BlockOperation
from nas.decode import Bounds, Note, show_value

# Batch norm with a weight and a bias a channel, with a bias alone, with one weight and one bias for all channels,
# without parameters; or no norm.
Norm = Literal["batch", "batch_bias", "batch_scalars", "batch_plain", "none"]
Activation = Literal[ActivationName, "none"]
Order = Literal["norm_first", "activation_first"]
DropoutKind = Literal["element", "channel"]
Padding = Literal["same", "valid"]
Shortcut = Literal["none", "identity", "projection"]

NAME = r"[A-Za-z_][A-Za-z0-9_]{0,29}"


@dataclass(frozen=True, slots=True)
class _Word(Note):
    def problem(self, value: str) -> str | None:
        """Return what is wrong with `value`, or None."""
        if re.fullmatch(NAME, value):
            return None
        return f"{show_value(value)} is no name of 1 to 30 letters, digits and underscores"


Name = Annotated[str, _Word()]
Width = Annotated[int, Bounds(1, 4096)]
Channels = Annotated[int, Bounds(1, 64)]
Pixels = Annotated[int, Bounds(1, 1024)]
Expansion = Annotated[int, Bounds(1, 16)]
Groups = Annotated[int, Bounds(1, 4096)]
DropoutRate = Annotated[float, Bounds(0.0, 1.0, open_high=True)]


@dataclass(frozen=True, slots=True)
class Input:
    """The stem: the shape of one image."""

    channels: Channels
    height: Pixels
    width: Pixels


@dataclass(frozen=True, slots=True)
class NormAct:
    """Norm and activation in either order, then dropout: what follows a convolution, and whether that has a bias."""

    bias: bool = False
    norm: Norm = "batch"
    activation: Activation = "relu"
    order: Order = "norm_first"
    dropout: DropoutRate = 0.0  # probability that an element (or a whole channel) is zeroed
    dropout_kind: DropoutKind = "element"
    # The activation is a call in `forward`, no layer of its own; same network either way. Within an inverted block it
    # is always a layer.
    functional: bool = False
    # The norm between the convolutions of a separable or inverted block; `same` is `norm`. Without an activation there
    # (separable), the second convolution can do what a weight would, and the next norm takes away any bias.
    middle: Literal["same", "batch", "batch_bias", "batch_scalars", "batch_plain", "none"] = "same"

    @property
    def middle_norm(self) -> Norm:
        """Return the norm between the convolutions of a separable or inverted block."""
        return self.norm if self.middle == "same" else self.middle


@dataclass(frozen=True, slots=True)
class Option:
    """What a kind of block that a person has registered is to be told: one of its options, and the value of it."""

    name: Name
    value: int | float | str | bool


@dataclass(frozen=True, slots=True)
class BlockLayer:
    """One operation within a block, and the maps that it reads."""

    operation: BlockOperation
    sources: tuple[int, ...]  # the layers that made them, from 0; -1 for what goes into the block


@dataclass(frozen=True, slots=True)
class BlockLayers:
    """The layers of a block from its input up to its last norm, in the order in which they run."""

    layers: tuple[BlockLayer, ...]
    activates: bool = True  # whether the block's activation follows behind its norm and shortcut


@dataclass(frozen=True, slots=True)
class Block:
    """A spatial convolution, then its norm, activation and dropout.

    `kind` is one of `nas.arch.kinds`. `plain` is one convolution. `separable` is a depthwise convolution, its norm, and
    a 1x1 convolution (Howard et al. 2017, MobileNets, section 3.1, without the activation between the two, as in
    Chollet 2017, Xception, 3.2).
    `inverted` is a 1x1 convolution to `expansion` times the channels and a depthwise one, each with norm and
    activation, then a 1x1 convolution with its norm alone (Sandler et al. 2018, MobileNetV2, section 3.3); an expansion
    of 1 leaves out the first. All convolutions but the depthwise ones have `groups` (Xie et al. 2017, ResNeXt, 3.2).
    A shortcut adds the block's input to what its convolutions made, ahead of the activation (He et al. 2016,
    section 3.2): as it is (`identity`) or through a 1x1 convolution (`projection`). With `repeat` above 1 the same
    layers, with the same weights, run that many times in a row.

    A kind that a person has registered comes with its layers as data, so that whoever reads the architecture needs
    nothing of theirs.
    """

    type: ClassVar[str] = "block"

    width: Width  # output channels
    kind: Name = "plain"
    kernel: Annotated[int, Bounds(1, 31)] = 3  # pixels, square
    stride: Annotated[int, Bounds(1, 8)] = 1
    padding: Padding = "same"
    shortcut: Shortcut = "none"
    repeat: Annotated[int, Bounds(1, 16)] = 1
    norm_act: NormAct = NormAct()
    expansion: Expansion = 4  # of an inverted block; without effect in others
    groups: Groups = 1  # divide the channels that go in and those that go out
    options: tuple[Option, ...] = ()  # of a kind of one's own
    layers: BlockLayers | None = None  # of a kind of one's own, behind the channels that go in


@dataclass(frozen=True, slots=True)
class Transition:
    """A 1x1 convolution that changes the width, without norm and activation unless it is given them."""

    type: ClassVar[str] = "transition"

    width: Width  # output channels
    norm_act: NormAct = NormAct(norm="none", activation="none")


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool over square windows that do not overlap unless `stride` is smaller than `size`."""

    type: ClassVar[str] = "pool"

    kind: Literal["max", "average"] = "max"
    size: Annotated[int, Bounds(1, 64)] = 2  # pixels
    stride: Annotated[int, Bounds(0, 64)] = 0  # pixels; 0 means the same as `size`


@dataclass(frozen=True, slots=True)
class Head:
    """How features become classes.

    `gap_linear`: global average pool, linear. `gap_conv`: global average pool, 1x1 convolution. `conv_gap`: a
    convolution to the classes, global average pool, no other layer. `flatten_linear`: all features, linear.
    """

    kind: Literal["gap_linear", "gap_conv", "conv_gap", "flatten_linear"] = "gap_linear"
    bias: bool = True
    kernel: Annotated[int, Bounds(1, 31)] = 1  # pixels; `conv_gap` alone may have more than 1
    padding: Padding = "valid"


BodyItem = Block | Transition | Pool


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network to be counted, built, trained and exported; `nas.arch.lower` turns it into layers with shapes."""

    input: Input
    classes: Annotated[int, Bounds(2, 10_000)]
    body: tuple[BodyItem, ...]
    head: Head = Head()
