"""The device to train on."""

from __future__ import annotations

import torch

from nas.errors import DeviceError


def find_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, or the CPU where there is none.

    Raises:
        DeviceError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"`device` {name}: not a device; use auto, cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"`device` {name}: only cpu and cuda are supported; use `device` auto")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"`device` {name}: this machine has {count} CUDA devices; use `device` cpu or auto")
    return device


def use_one_thread(device: torch.device) -> None:
    """Limit this process to one thread if it trains on the CPU.

    In networks this small a second thread only waits for the first; a second process gains more.
    """
    if device.type == "cpu":
        torch.set_num_threads(1)
