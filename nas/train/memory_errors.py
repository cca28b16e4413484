"""Which of the many errors of torch and of the libraries below it say that memory has run out."""

from __future__ import annotations

import re

import torch

# What torch, CUDA, cuBLAS and cuDNN say. A library that cannot even be set up lacks the memory for its own workspace:
# nothing else keeps it from that in a process in which the device works.
_TEXTS = re.compile(
    r"out.of.memory|allocate memory|alloc(ation)?[ _]failed|not enough memory|bad_alloc|MemoryAllocation"
    r"|(CUBLAS|CUDNN)_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether it is about memory, or came from an error that is: ending a capture after one raises another."""
    while error is not None:
        if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _TEXTS.search(str(error)):
            return True
        error = error.__context__
    return False
