"""The counts of thop, the package that many publications count with, to compare our own with theirs.

thop counts in another way: 4 multiply-accumulates for each element of a norm, some for average pools, none for biases,
and none for a function of `forward`, such as an addition or `F.relu`. Budgets are kept by `nas.costs.costs_of`, which
counts convolutions and linear layers alone.
"""

from __future__ import annotations

import copy
import warnings
from typing import NamedTuple

import torch
from torch import nn

from nas.arch import Layer
from nas.arch.operations import Shape
from nas.model.build import build

CONVENTION = "thop counts norms at 4 an element and average pools too, and leaves out biases and functions"


class ThopCount(NamedTuple):
    """What thop says of one network and one image."""

    thop_macs: int
    thop_params: int


def count_with_thop(module: nn.Module, input_shape: Shape) -> ThopCount:
    """Return thop's counts of `module` on one image of `input_shape` (C, H, W); the module stays as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of thop and of what it imports
        import thop

        device = next((p.device for p in module.parameters()), torch.device("cpu"))
        image = torch.zeros(1, *input_shape, device=device)
        macs, params = thop.profile(copy.deepcopy(module), (image,), verbose=False)
    return ThopCount(round(macs), round(params))


def count_layers_with_thop(layers: list[Layer], input_shape: Shape) -> ThopCount:
    """Return thop's counts of the network that `build` makes of `layers`; no weights are allocated."""
    with torch.device("meta"):
        return count_with_thop(build(layers), input_shape)
