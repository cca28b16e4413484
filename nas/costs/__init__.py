"""What an architecture costs, exactly, before it is trained: parameters, MACs, memory, flash. Standard library only."""

from nas.costs.counting import COUNTED, Budget, Costs, Count, costs_of, layers_that_count
from nas.costs.folding import Int8Layers, fold_layers, int8_arrays, merge_relu
from nas.costs.memory_plan import plan_memory
from nas.costs.microcontroller import flash_bytes, max_work_bytes, ram_bytes
from nas.costs.table import layer_rows, layer_table, sketch

__all__ = [
    "COUNTED",
    "Budget",
    "Costs",
    "Count",
    "Int8Layers",
    "costs_of",
    "flash_bytes",
    "fold_layers",
    "int8_arrays",
    "layer_rows",
    "layer_table",
    "layers_that_count",
    "max_work_bytes",
    "merge_relu",
    "plan_memory",
    "ram_bytes",
    "sketch",
]
