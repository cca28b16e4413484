"""What a network in 8 bits takes of a microcontroller, known before it is trained: an upper bound of flash and RAM.

Arrays are exact. Code is that of arm-none-eabi-gcc 12 with -Os for a Cortex-M0, whose instruction set makes the longest
programs of the Cortex-M family. Its constants are the least that bound 136 sampled networks as they were linked (linear
programming), rounded up by a tenth; tests/export/test_firmware.py links networks again where the tools are.
"""

from __future__ import annotations

from math import prod

from nas.arch.lowering import Layer
from nas.arch.operations import Activation, Add, Conv2d, MaxPool2d
from nas.costs.folding import fold_layers, int8_arrays, merge_relu
from nas.costs.memory_plan import overwrites_source, plan_memory

STACK_BYTES = 512  # that `predict` takes at most, without its logits
_ALWAYS_BYTES = 600  # pixels, requantizing, the last layer, `predict`, 64-bit arithmetic of the compiler's library
_FUNCTION_BYTES = {"conv": 800, "look_up": 180, "add": 220, "max_pool": 100, "average_pool": 50, "copy": 20}
_CALL_BYTES = {"conv": 116, "look_up": 8, "add": 12, "max_pool": 48, "average_pool": 48, "copy": 16}


def flash_bytes(layers: list[Layer]) -> int:
    """Return the most bytes of flash that the network of `lower` takes in 8 bits: arrays and code.

    Start-up code, the names of the classes, and what else a program does come on top.
    """
    layers = merge_relu(fold_layers(layers).layers).layers
    channels = layers[0].input_shape[0]
    total = _ALWAYS_BYTES + 8 * channels
    called = set()
    overwrites = overwrites_source(layers)
    for index, layer in enumerate(layers):
        is_last = index == len(layers) - 1
        for part, bytes_each, shape in int8_arrays(layer, is_last):
            if part != "weight" or not layer.use:
                total += _aligned(bytes_each * prod(shape))
        if not is_last:
            # A sum is written over its first map, or over a copy of it where that is still needed.
            copies = isinstance(layer.operation, Add) and not overwrites[index]
            for function in (_function(layer), *(["copy"] if copies else [])):
                called.add(function)
                total += _CALL_BYTES[function]
    return total + sum(_FUNCTION_BYTES[function] for function in called)


def ram_bytes(layers: list[Layer]) -> int:
    """Return the most bytes of RAM that the network of `lower` takes in 8 bits: maps, stack, and the logits.

    The image is the caller's, and so is its memory.
    """
    layers = merge_relu(fold_layers(layers).layers).layers
    return _aligned(plan_memory(layers).size) + 4 * layers[-1].output_shape[0] + STACK_BYTES


def max_work_bytes(max_ram: int, classes: int) -> int:
    """Return how many bytes of maps stay within `max_ram`: the inverse of `ram_bytes`."""
    return (max_ram - 4 * classes - STACK_BYTES) // 4 * 4


def _aligned(size: int) -> int:
    return (size + 3) // 4 * 4


def _function(layer: Layer) -> str:
    match layer.operation:
        case Conv2d():
            return "conv"
        case Activation():
            return "look_up"
        case Add():
            return "add"
        case MaxPool2d():
            return "max_pool"
        case _:
            return "average_pool"
