"""A trained network in 8 bits: calibrated on images that it was trained on, measured on those that judge it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from nas.data.images import ImageSet
from nas.data.sample import stratified_sample
from nas.export.c.firmware import Example
from nas.int8.network import QuantizedNetwork
from nas.int8.quantize import quantize
from nas.model.exported_file import finite_module, run_in_batches
from nas.model.image_network import ImageNetwork
from nas.model.trained_network import TrainedNetwork
from nas.study.claims import accuracy_claim
from nas.verification.checks import accuracy

EXAMPLES_TRIED = 100  # images, for one that the 8-bit network classifies right
CALIBRATION_IMAGES = 512  # training images, a share of each class, that set the ranges of 8-bit activations

Report = Callable[[str], None]


def image_network(network: TrainedNetwork) -> ImageNetwork:
    """Return a network with its weights, in eval mode.

    Raises:
        ExportError: its weights do not fit it.
    """
    return ImageNetwork(finite_module(network), network.mean, network.std).eval()


def quantize_and_measure(
    network: TrainedNetwork,
    trained_on: ImageSet,
    judged_on: ImageSet,
    *,
    dataset: str,
    is_test: bool,
    seed: int,
    report: Report,
) -> tuple[QuantizedNetwork, dict[str, Any], Example]:
    """Return the 8-bit network, its size and accuracy as claims, and an image to try it with.

    The image is the first of those judged on that the 8-bit network classifies right, or else the very first.

    Args:
        network: with its weights.
        trained_on: the images that it was trained on, of which some calibrate.
        judged_on: the images that its accuracy is measured on.
        dataset: what the images are called.
        is_test: whether those are the test images; else they are the validation part.
        seed: of the choice of images that calibrate.
        report: takes what is being done, as it goes on.

    Raises:
        ExportError: the weights do not fit the network.
    """
    report("quantizing the network")
    sample = stratified_sample(trained_on.labels, CALIBRATION_IMAGES, seed)
    quantized = quantize(network, trained_on.images[sample])
    claim, module = accuracy_claim(is_test), image_network(network)
    what = f"{'test' if is_test else 'validation'} image of {PurePath(dataset).name}, number"
    measured = {
        "num_bytes": quantized.num_bytes,
        "float_bytes": sum(4 * parameter.numel() for parameter in module.parameters()),
        f"float_{claim}": round(accuracy(lambda images: run_in_batches(module, images), judged_on, report), 4),
        claim: round(accuracy(quantized.logits, judged_on, report), 4),
    }
    return quantized, measured, _choose_example(quantized, judged_on, what)


def _choose_example(quantized: QuantizedNetwork, images: ImageSet, what: str) -> Example:
    first = slice(0, EXAMPLES_TRIED)
    right = quantized.logits(images.images[first]).argmax(1) == images.labels[first]
    index = int(right.int().argmax())
    return Example(images.images[index].clone(), int(images.labels[index]), f"{what} {index}")
