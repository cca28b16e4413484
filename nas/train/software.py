"""What a training's accuracies depend on beside its network, data, recipe and seed."""

from __future__ import annotations

from nas import host
from nas.kernels.cpu import kernel_status


def describe_software() -> str:
    """Return the versions of the packages, the state of the CPU kernels and the CPU, in one line."""
    packages = ", ".join(f"{name} {version}" for name, version in host.versions("optuna", "torch", "numpy").items())
    return f"{packages}, CPU kernels {kernel_status()}, CPU {host.cpu_model()}"
