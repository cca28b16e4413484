"""The device to train on."""

from __future__ import annotations

import os

import torch

from nas.errors import DeviceError
from nas.train.cuda import CudaDevice
from nas.train.device_interface import Device

# Streams that a GPU really runs side by side; without this, about eight. CUDA reads it when it starts.
_CONNECTIONS = {"CUDA_DEVICE_MAX_CONNECTIONS": "32"}


def find_device(name: str = "auto") -> torch.device:
    """Return the device called `name`; `auto` is the first CUDA device, or the CPU where there is none.

    Raises:
        DeviceError: there is no such device here.
    """
    for variable, value in _CONNECTIONS.items():
        os.environ.setdefault(variable, value)
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


def device_of(device: torch.device | Device) -> Device:
    """Return the `Device` of a torch device; `cuda` without an index is the first."""
    if isinstance(device, Device):
        return device
    if device.type == "cpu":
        return Device(device)
    return CudaDevice(device)
