"""What can be known of the CUDA half without a GPU."""

from __future__ import annotations

import warnings

import pytest
import torch

from nas.train.cuda import CudaDevice, _register


@pytest.mark.parametrize(("given", "index"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_device_has_an_index_whether_or_not_one_was_given(
    given: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`torch.cuda.set_device` itself refuses a device without one."""
    chosen: list[int] = []
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: chosen.append(torch.cuda._utils._get_device_index(device))
    )
    device = CudaDevice(torch.device(given))
    assert device.torch_device == torch.device("cuda", index)
    assert chosen == [index]
    assert str(device) == f"cuda:{index}"


def test_generators_are_registered_with_old_and_new_versions_of_torch_alike() -> None:
    """New ones do it themselves: they warn of the call, and will do without it."""
    registered: list[torch.Generator] = []

    class Old:
        def register_generator_state(self, generator: torch.Generator) -> None:
            registered.append(generator)

    class Deprecated:
        def register_generator_state(self, generator: torch.Generator) -> None:
            warnings.warn("CUDAGraph.register_generator_state() is deprecated", FutureWarning, stacklevel=2)

    generators = [torch.Generator(), torch.Generator()]
    for graph in (Old(), Deprecated(), object()):
        _register(graph, generators)  # type: ignore[arg-type]
    assert registered == generators
