"""The operations that layers perform, each with its output shape, parameters and multiply-accumulates.

Shapes are those of one image: (C, H, W) for maps, (F,) for features. `kind` is the name of the torch.nn class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from nas.decode import Bounds

Shape = tuple[int, ...]
ActivationName = Literal["relu", "leaky_relu", "prelu", "silu", "gelu", "hardswish"]

# Bounds for what is read from files: of channels a whole network has fewer, within blocks there may be more than behind
# them.
_Channels = Annotated[int, Bounds(1, 65_536)]
_Kernel = Annotated[int, Bounds(1, 64)]


def _windows(size: int, kernel: int, stride: int, padding: int = 0) -> int:
    return (size + 2 * padding - kernel) // stride + 1


@dataclass(frozen=True, slots=True)
class Conv2d:
    """Square kernel; `padding` zeros on each side; each of `groups` parts reads its share of the channels."""

    in_channels: _Channels
    out_channels: _Channels
    kernel: _Kernel
    stride: _Kernel = 1
    padding: Annotated[int, Bounds(0, 64)] = 0
    groups: _Channels = 1
    bias: bool = False

    kind: ClassVar[str] = "Conv2d"
    type: ClassVar[str] = "convolution"  # in files, as far as the layers of a block are written there

    @property
    def num_params(self) -> int:
        """Weights, and one bias a channel."""
        weights = self.out_channels * (self.in_channels // self.groups) * self.kernel * self.kernel
        return weights + self.out_channels * self.bias

    def output_shape(self, shape: Shape) -> Shape:
        """(in_channels, H, W) to (out_channels, H', W')."""
        _, height, width = shape
        return (
            self.out_channels,
            _windows(height, self.kernel, self.stride, self.padding),
            _windows(width, self.kernel, self.stride, self.padding),
        )

    def num_macs(self, output_shape: Shape) -> int:
        """One for each weight that an output element reads; biases are no multiplications."""
        _, height, width = output_shape
        return height * width * self.out_channels * (self.in_channels // self.groups) * self.kernel * self.kernel


@dataclass(frozen=True, slots=True)
class Linear:
    """A map is flattened to (C*H*W,) on its way in."""

    in_features: int
    out_features: int
    bias: bool = True

    kind: ClassVar[str] = "Linear"

    @property
    def num_params(self) -> int:
        """Weights, and one bias a feature."""
        return self.in_features * self.out_features + self.out_features * self.bias

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) or (in_features,) to (out_features,)."""
        return (self.out_features,)

    def num_macs(self, output_shape: Shape) -> int:
        """One for each weight."""
        return self.in_features * self.out_features


@dataclass(frozen=True, slots=True)
class _SameShape:
    """An operation that keeps the shape and has neither parameters nor multiply-accumulates of its own."""

    @property
    def num_params(self) -> int:
        return 0

    def output_shape(self, shape: Shape) -> Shape:
        return shape

    def num_macs(self, output_shape: Shape) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class BatchNorm2d(_SameShape):
    """Weight and bias count as parameters, where it has them; running mean and variance are buffers and do not."""

    channels: _Channels
    trained: Literal["weight_and_bias", "bias", "scalars", "nothing"] = "weight_and_bias"

    kind: ClassVar[str] = "BatchNorm2d"
    type: ClassVar[str] = "batch_norm"

    @property
    def num_params(self) -> int:
        """A weight and a bias a channel, or what there is of them; `scalars` are one of each for all channels."""
        if self.trained == "scalars":
            return 2
        return {"weight_and_bias": 2, "bias": 1, "nothing": 0}[self.trained] * self.channels


_ACTIVATION_KINDS = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "prelu": "PReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "hardswish": "Hardswish",
}


@dataclass(frozen=True, slots=True)
class Activation(_SameShape):
    """One of the activations with torch's default settings; PReLU has one slope for all channels.

    A functional one is a call in `forward` (F.relu) and no layer of its own.
    """

    name: ActivationName
    functional: bool = False

    type: ClassVar[str] = "activation"

    @property
    def kind(self) -> str:
        """The name of the torch.nn class."""
        return _ACTIVATION_KINDS[self.name]

    @property
    def num_params(self) -> int:
        """The slope of PReLU."""
        return 1 if self.name == "prelu" else 0


@dataclass(frozen=True, slots=True)
class Dropout(_SameShape):
    """Zeroes single elements with probability `rate`."""

    rate: float

    kind: ClassVar[str] = "Dropout"


@dataclass(frozen=True, slots=True)
class Dropout2d(_SameShape):
    """Zeroes whole channels with probability `rate`."""

    rate: float

    kind: ClassVar[str] = "Dropout2d"


@dataclass(frozen=True, slots=True)
class Add(_SameShape):
    """The sum of two maps, such as a layer's and its shortcut's; a function, no layer of its own."""

    kind: ClassVar[str] = "Add"
    type: ClassVar[str] = "add"


@dataclass(frozen=True, slots=True)
class _Pool(_SameShape):
    size: _Kernel
    stride: _Kernel

    def output_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        return channels, _windows(height, self.size, self.stride), _windows(width, self.size, self.stride)


@dataclass(frozen=True, slots=True)
class MaxPool2d(_Pool):
    """The largest of each window."""

    kind: ClassVar[str] = "MaxPool2d"
    type: ClassVar[str] = "max_pool"


@dataclass(frozen=True, slots=True)
class AvgPool2d(_Pool):
    """The mean of each window."""

    kind: ClassVar[str] = "AvgPool2d"
    type: ClassVar[str] = "average_pool"


@dataclass(frozen=True, slots=True)
class AdaptiveAvgPool2d(_SameShape):
    """The mean of each channel, whatever the map's size."""

    kind: ClassVar[str] = "AdaptiveAvgPool2d"

    def output_shape(self, shape: Shape) -> Shape:
        """(C, H, W) to (C, 1, 1)."""
        return shape[0], 1, 1


Operation = (
    Conv2d | Linear | BatchNorm2d | Activation | Dropout | Dropout2d | Add | MaxPool2d | AvgPool2d | AdaptiveAvgPool2d
)
BlockOperation = Conv2d | BatchNorm2d | Activation | Add | MaxPool2d | AvgPool2d  # what a block may be made of
