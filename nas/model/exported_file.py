"""An exported file that was read back, and what readers and writers of all formats share.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import ExportError, NasError, VerificationError, describe
from nas.model.image_network import module_of
from nas.model.metadata import Metadata
from nas.model.trained_network import TrainedNetwork

BATCH_PIXELS = 2**20  # numbers of images that a reader runs at once: a thousand images of 28x28, six of 224x224x3


class LoadedExport(abc.ABC):
    """An exported file that was read back: what it claims, and what it computes."""

    __slots__ = ()
    metadata: Metadata

    @property
    def claims(self) -> Mapping[str, object]:
        """What the file says of itself."""
        return self.metadata.claims

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height, width of one image."""
        return self.metadata.input_shape

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, by logit; empty in files of version 0.1."""
        return self.metadata.class_names

    def logits(self, images: Tensor) -> Tensor:
        """Return the float32 logits (N, classes) of raw uint8 images (N, C, H, W), computed by the file itself.

        Raises:
            VerificationError: the images are not uint8 of the file's shape, or the network cannot be run.
        """
        images = check_images(images, self.input_shape)
        with _refuse_failure("run"):
            return self._logits(images)

    def derive(self) -> dict[str, object]:
        """Return what the file itself shows of its claims, by the claim.

        Raises:
            VerificationError: the network cannot be read.
        """
        with _refuse_failure("read"):
            return self._derive()

    @abc.abstractmethod
    def _logits(self, images: Tensor) -> Tensor:
        """As `logits`, for images that were checked. Whatever else it raises, the file is refused."""

    @abc.abstractmethod
    def _derive(self) -> dict[str, object]:
        """As `derive`. Whatever else it raises, the file is refused."""


@contextmanager
def _refuse_failure(what: str) -> Iterator[None]:
    """Raise a VerificationError for whatever a file raises that was read, and fails when it is used."""
    try:
        yield
    except NasError:
        raise
    except Exception as error:
        problem = f"its network cannot be {what}: {describe(error)}"
        raise VerificationError(f"{problem}; give a file as it was exported") from None


def require_file(path: Path, what: str = "file") -> None:
    """Raise VerificationError where there is no file at `path`."""
    if not path.is_file():
        raise VerificationError(f"{path} is not there; give the path of a {what} that `nas export` wrote")


def finite_module(network: TrainedNetwork) -> nn.Module:
    """Return the network with its weights as a torch module in eval mode.

    Raises:
        ExportError: a tensor is missing, unknown, of another shape, or not finite.
    """
    try:
        module = module_of(network)
    except (RuntimeError, TypeError) as error:
        raise ExportError(f"the weights do not fit the architecture, give those of this network: {error}") from None
    if not all(torch.isfinite(tensor).all() for tensor in module.state_dict().values()):
        raise ExportError("the weights are not finite numbers; train the network again")
    return module


def check_images(images: Tensor, input_shape: tuple[int, int, int]) -> Tensor:
    """Return `images`, contiguous and on the CPU.

    Raises:
        VerificationError: they are not uint8 (N, *input_shape).
    """
    if images.dtype != torch.uint8 or tuple(images.shape[1:]) != input_shape:
        raise VerificationError(
            f"images are {images.dtype} {tuple(images.shape)}, and the network takes uint8 {('N', *input_shape)}"
        )
    return images.cpu().contiguous()


@torch.inference_mode()
def run_in_batches(run: Callable[[Tensor], Tensor], images: Tensor, batch: int | None = None) -> Tensor:
    """Return what `run`, which maps (N, …) to (N, classes), gives for all images, a batch at a time to save memory."""
    return torch.cat([run(part) for part in torch.split(images, batch or batch_of(images))])


def batch_of(images: Tensor) -> int:
    """Return how many of `images` are run at once."""
    return max(1, BATCH_PIXELS // images[0].numel())
