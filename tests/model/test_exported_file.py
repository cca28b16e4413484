"""What holds of an exported file of any format once it was read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas.errors import VerificationError
from nas.model.exported_file import LoadedExport
from nas.model.metadata import MAX_NUMBERS, Metadata, read_metadata


class Failing(LoadedExport):
    """A file that was read, and fails when it is used."""

    metadata = Metadata({}, (1, 2, 2), (0.0,), (1.0,))

    def __init__(self, error: Exception) -> None:
        self.error = error

    def _logits(self, images: Tensor) -> Tensor:
        raise self.error

    def _derive(self) -> dict[str, object]:
        raise self.error


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), MemoryError(), RuntimeError("x\n" * 30_000)])
@pytest.mark.parametrize(
    "use", [lambda file: file.derive(), lambda file: file.logits(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))]
)
def test_a_file_that_fails_in_use_is_refused_in_a_line(error: Exception, use: Callable[[LoadedExport], object]) -> None:
    with pytest.raises(
        VerificationError, match=rf"^its network cannot be (run|read): {type(error).__name__}"
    ) as refused:
        use(Failing(error))
    assert len(str(refused.value)) < 600
    assert "\n" not in str(refused.value)


def test_images_that_no_machine_can_hold_are_refused() -> None:
    size = MAX_NUMBERS // 2**13
    fits = Metadata({}, (1, size, 2**13), (0.0,), (1.0,))
    assert read_metadata(fits.to_json(), Path("net.onnx")) == fits
    for shape in ((1, size + 1, 2**13), (1, 2**70, 1)):
        with pytest.raises(VerificationError, match="does not say what it is"):
            read_metadata(Metadata({}, shape, (0.0,), (1.0,)).to_json(), Path("net.onnx"))
