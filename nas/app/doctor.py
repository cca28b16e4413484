"""`nas doctor`: what this machine is, whether it trains, and what keeps it from training faster."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Any

import torch

from nas import host
from nas.data.load import load_dataset
from nas.errors import NasError, first_line
from nas.kernels.cpu import kernel_status, load_kernels
from nas.train.device import device_of, find_device, use_one_thread
from nas.train.device_interface import Device
from nas.train.self_check import check_device

MNIST_BYTES = 103_000_000  # of images that workers share, as `nas.workers.process` lays them out
# Those that may explain something, and none that may hold a secret.
_VARIABLES: tuple[str, ...] = (
    "CC",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "NAS_DATA_DIR",
)
_VARIABLES += ("NAS_NATIVE", "NAS_STUDIES", "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "XDG_CACHE_HOME")


def examine(seconds: float) -> dict[str, Any]:
    """Return what there is to know of this machine, ready for JSON; train for about `seconds` on each device.

    `problems` are what makes results wrong or trainings impossible, `advice` is what makes them slow.
    """
    find_device()  # sets what CUDA reads when it starts
    threads = torch.get_num_threads()
    use_one_thread(torch.device("cpu"))
    try:
        devices = [_examine_device(device, seconds) for device in _torch_devices()]
    finally:
        torch.set_num_threads(threads)
    shared = host.shared_memory()
    document: dict[str, Any] = {
        "versions": host.versions("torch", "torchvision", "numpy", "optuna") | {"python": platform.python_version()},
        "system": platform.platform(),
        "cpu": host.cpu_model(),
        "cores": host.available_cores(),
        "cpu_kernels": _kernel_status(),
        "cuda": {"built_for": torch.version.cuda, "available": torch.cuda.is_available()},
        "devices": devices,
        "shared_memory": shared._asdict() if shared else None,
        "cache": _examine_cache(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }
    document["problems"] = [f"{device['device']}: {device['problem']}" for device in devices if device["problem"]]
    document["problems"] += [f"cache folder: {p}" for p in [document["cache"]["problem"]] if p]
    document["advice"] = _advice(document)
    return document


def _torch_devices() -> list[torch.device]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [torch.device("cpu"), *(torch.device("cuda", index) for index in range(count))]


def _examine_device(where: torch.device, seconds: float) -> dict[str, Any]:
    about: dict[str, Any] = {"device": str(where), "name": host.cpu_model()}
    if where.type == "cuda":
        properties = torch.cuda.get_device_properties(where)
        about |= {
            "name": properties.name,
            "bytes": properties.total_memory,
            "capability": f"{properties.major}.{properties.minor}",
        }
    try:
        device: Device = device_of(where)
    except RuntimeError as error:
        return about | {"problem": first_line(error)}
    return about | asdict(check_device(device, load_dataset("digits"), seconds))


def _kernel_status() -> str:
    try:
        return kernel_status()
    except NasError as error:
        return f"not used: {error}"


def _examine_cache() -> dict[str, Any]:
    try:
        folder = host.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        free = host.free_bytes(folder)
    except (NasError, OSError) as error:
        return {"folder": None, "free": None, "problem": str(error)}
    problem = "" if os.access(folder, os.W_OK) else f"{folder} cannot be written; set XDG_CACHE_HOME to one that can"
    return {"folder": str(folder), "free": free, "problem": problem}


def _advice(document: dict[str, Any]) -> list[str]:
    advice = []
    if _lacks_kernels():
        advice.append(f"the CPU kernels are {document['cpu_kernels']}; the CPU trains without them, slower")
    cuda = document["cuda"]
    if cuda["built_for"] is None:
        advice.append("this torch is built without CUDA: it can use no GPU; https://pytorch.org says which to install")
    elif not cuda["available"]:
        advice.append(f"no GPU is found, or its driver is too old for CUDA {cuda['built_for']}: training is on the CPU")
    for device in document["devices"]:
        if device.get("capture", "works") not in ("", "works"):
            advice.append(f"{device['device']} trains without CUDA graphs, slower: {device['capture']}")
        if device.get("kernel_problem"):
            why = device["kernel_problem"]
            advice.append(f"{device['device']} trains without the kernels for its norms, slower: {why}")
    shared = document["shared_memory"]
    if shared and shared["free"] < MNIST_BYTES:
        advice.append(
            f"{shared['free'] / 1e6:,.0f} MB of shared memory are free and MNIST takes {MNIST_BYTES / 1e6:,.0f}: each "
            f"worker gets a copy of the images (in Docker: --shm-size=1g)"
        )
    return advice


def _lacks_kernels() -> bool:
    try:
        return load_kernels() is None
    except NasError:
        return True
