"""What a network costs, in closed form from its layers, and the budget that it must stay within."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nas.arch.lowering import IMAGE, Layer
from nas.arch.operations import Activation, Add, BatchNorm2d, Dropout, Dropout2d

BYTES_PER_ACTIVATION = 4  # float32
_IN_PLACE = (BatchNorm2d, Activation, Dropout, Dropout2d, Add)


@dataclass(frozen=True, slots=True)
class Costs:
    """`num_params` and `num_macs` are exact; see `costs_of` for what each means."""

    num_params: int  # elements of all parameter tensors, each tensor once however often it is used
    num_macs: int  # multiply-accumulates of convolutions and linear layers for one image
    peak_activation_bytes: int  # float32, one image


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a network may cost; None means no limit. Nothing over it is ever built, trained or reported."""

    max_params: int
    max_macs: int | None = None
    max_activation_bytes: int | None = None

    def admits(self, costs: Costs) -> bool:
        """Return whether `costs` stay within every limit."""
        return not self.excesses(costs)

    def excesses(self, costs: Costs) -> list[str]:
        """Return one text for each limit that `costs` exceed."""
        limits = [
            ("num_params", costs.num_params, self.max_params),
            ("num_macs", costs.num_macs, self.max_macs),
            ("peak_activation_bytes", costs.peak_activation_bytes, self.max_activation_bytes),
        ]
        return [f"{n} {v:,} exceeds {m:,}" for n, v, m in limits if m is not None and v > m]


def costs_of(layers: list[Layer]) -> Costs:
    """Return the costs of the network that `layers` describe.

    `peak_activation_bytes` is the most float32 bytes of activations alive at once while the layers run in order on
    one image: what the running layer reads and writes, and what a later shortcut still needs. Convolutions, linear
    layers and pools write to memory of their own; norms, activations, dropout and additions work in place.
    """
    return Costs(
        num_params=sum(layer.num_params for layer in layers),
        num_macs=sum(layer.num_macs for layer in layers),
        peak_activation_bytes=_peak_activations(layers) * BYTES_PER_ACTIVATION,
    )


def _peak_activations(layers: list[Layer]) -> int:
    # A layer that works in place hands on the buffer of its first source; a buffer lives until its last reader ran.
    buffer_of = {IMAGE: IMAGE}
    size = {IMAGE: prod(layers[0].input_shape)}
    last_use = {IMAGE: 0}
    for index, layer in enumerate(layers):
        for source in layer.sources:
            last_use[buffer_of[source]] = index
        if isinstance(layer.operation, _IN_PLACE):
            buffer_of[index] = buffer_of[layer.sources[0]]
        else:
            buffer_of[index] = index
            size[index] = prod(layer.output_shape)
        last_use[buffer_of[index]] = index
    ends: dict[int, int] = {}  # elements whose last reader is the layer at an index
    for buffer, index in last_use.items():
        ends[index] = ends.get(index, 0) + size[buffer]
    peak = live = size[IMAGE]
    for index in range(len(layers)):
        live += size.get(index, 0)
        peak = max(peak, live)
        live -= ends.get(index, 0)
    return peak
