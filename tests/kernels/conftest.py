from __future__ import annotations

import torch

# As workers train: two threads that fight for a busy core take ten times as long.
torch.set_num_threads(1)
