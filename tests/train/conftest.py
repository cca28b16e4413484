from __future__ import annotations

import os

import torch

# As workers train: two threads that fight for a busy core take ten times as long.
torch.set_num_threads(1)
# Kernels for a GPU are computed on the CPU. Triton reads this when it is first imported.
os.environ["TRITON_INTERPRET"] = "1"
