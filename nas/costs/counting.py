"""What a network costs, in closed form from its layers, and the budget that it must stay within."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Literal, Protocol, TypeAlias

from nas.arch.lowering import IMAGE, Layer
from nas.arch.operations import Activation, Add, BatchNorm2d, Dropout, Dropout2d
from nas.costs.folding import fold_layers
from nas.costs.microcontroller import flash_bytes, ram_bytes

BYTES_PER_ACTIVATION = 4  # float32
_IN_PLACE = (BatchNorm2d, Activation, Dropout, Dropout2d, Add)

# Which parameters of a network count as its size: those that are trained, or those that are left to deploy once its
# batch norms are folded into convolutions. By the name of what holds them, of costs and of a trial's record.
Count: TypeAlias = Literal["trained", "deployed"]
COUNTED: Mapping[Count, str] = {"trained": "num_params", "deployed": "deployed_params"}


class Counts(Protocol):
    """A network of which both counts are known."""

    @property
    def num_params(self) -> int:
        """Those that are trained."""

    @property
    def deployed_params(self) -> int:
        """Those that are left once batch norms are folded."""


@dataclass(frozen=True)
class Costs:
    """`num_params` and `num_macs` are exact; see `costs_of` for what each means.

    Folding, flash and RAM take longer to count than all else, and are counted when they are asked for.
    """

    num_params: int  # elements of all parameter tensors, each tensor once however often it is used
    num_macs: int  # multiply-accumulates of convolutions and linear layers for one image
    peak_activation_bytes: int  # float32, one image
    layers: list[Layer] = field(default_factory=list, repr=False, compare=False)

    def counts(self) -> dict[str, int]:
        """Return the exact counts by name."""
        names = ("num_params", "deployed_params", "num_macs", "peak_activation_bytes")
        return {name: getattr(self, name) for name in names}

    def device_bytes(self) -> dict[str, int]:
        """Return flash and RAM of a microcontroller, in 8 bits, by name."""
        return {"flash_bytes": self.flash_bytes, "ram_bytes": self.ram_bytes}

    @cached_property
    def deployed_params(self) -> int:
        """Weights and biases that are left once batch norms are folded: the float32 numbers of the export as C."""
        return sum(layer.num_params for layer in layers_that_count(self.layers, "deployed"))

    @cached_property
    def flash_bytes(self) -> int:
        """The most bytes of flash of a microcontroller that the network takes in 8 bits: arrays and code."""
        return flash_bytes(self.layers)

    @cached_property
    def ram_bytes(self) -> int:
        """The most bytes of RAM that it takes there: maps, stack and logits."""
        return ram_bytes(self.layers)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that a network may cost; None means no limit. Nothing over it is ever built, trained or reported."""

    max_params: int
    max_macs: int | None = None
    max_activation_bytes: int | None = None
    max_flash: int | None = None  # bytes, in 8 bits
    max_ram: int | None = None  # bytes, in 8 bits
    count: Count = "trained"  # the parameters that `max_params` is about

    @property
    def unit(self) -> str:
        """Return what `max_params` counts, for people."""
        return "parameters deployed" if self.count == "deployed" else "parameters"

    def size(self, network: Counts) -> int:
        """Return the parameters of a network that the budget counts."""
        return int(getattr(network, COUNTED[self.count]))

    def admits(self, costs: Costs) -> bool:
        """Return whether `costs` stay within every limit."""
        return next(self._excesses(costs), None) is None

    def excesses(self, costs: Costs) -> list[str]:
        """Return one text for each limit that `costs` exceed."""
        return list(self._excesses(costs))

    def _excesses(self, costs: Costs) -> Iterator[str]:
        limits = {
            COUNTED[self.count]: self.max_params,
            "num_macs": self.max_macs,
            "peak_activation_bytes": self.max_activation_bytes,
            "flash_bytes": self.max_flash,
            "ram_bytes": self.max_ram,
        }
        for name, most in limits.items():
            if most is not None and (value := getattr(costs, name)) > most:
                yield f"{name} {value:,} exceeds {most:,}"


def layers_that_count(layers: list[Layer], count: Count) -> list[Layer]:
    """Return the layers whose parameters count: `layers` themselves, or folded."""
    return layers if count == "trained" else fold_layers(layers).layers


def costs_of(layers: list[Layer]) -> Costs:
    """Return the costs of the network that `layers` describe.

    `peak_activation_bytes` is the most float32 bytes of activations alive at once while the layers run in order on
    one image: what the running layer reads and writes, and what a later shortcut still needs. Convolutions, linear
    layers and pools write to memory of their own; norms, activations, dropout and additions work in place, unless it
    is the image that they read, or a map that a later layer still needs.
    """
    return Costs(
        num_params=sum(layer.num_params for layer in layers),
        num_macs=sum(layer.num_macs for layer in layers),
        peak_activation_bytes=_peak_activations(layers) * BYTES_PER_ACTIVATION,
        layers=layers,
    )


def _peak_activations(layers: list[Layer]) -> int:
    # A layer that works in place hands on the buffer of its first source; a buffer lives until its last reader ran.
    last_reader = {source: index for index, layer in enumerate(layers) for source in layer.sources}
    buffer_of = {IMAGE: IMAGE}
    size = {IMAGE: prod(layers[0].input_shape)}
    last_use = {IMAGE: 0}
    for index, layer in enumerate(layers):
        for source in layer.sources:
            last_use[buffer_of[source]] = index
        source = layer.sources[0]
        if isinstance(layer.operation, _IN_PLACE) and source != IMAGE and last_reader[source] == index:
            buffer_of[index] = buffer_of[source]
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
