"""What is said of images before a search begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nas.data.images import ImageSet
from nas.data.load import load_dataset
from nas.data.overview import overview_of
from nas.data.policy import AugmentationPolicy
from nas.data.split import Parts, parts_of


def _parts(images: torch.Tensor, labels: torch.Tensor) -> Parts:
    every = ImageSet(images, labels)
    return Parts(every, every, every, every, AugmentationPolicy(), ("few", "many"))


def test_digits() -> None:
    overview = overview_of(parts_of(load_dataset("digits"), 0))
    assert sum(overview.counts.values()) + overview.num_test == 1797
    assert 9 < overview.most_frequent_accuracy < 12
    # As scikit-learn's LogisticRegression does with a weak penalty, on the same images.
    assert 97 < overview.linear_accuracy < 98.5
    assert overview.linear_images == 1198


def test_uneven_classes_and_what_the_lines_say() -> None:
    labels = torch.tensor([0] * 10 + [1] * 30)
    noise = torch.randint(0, 256, (40, 3, 48, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise[labels == 1, :, 24:] = 255
    overview = overview_of(_parts(noise, labels))
    assert (overview.most_frequent, overview.most_frequent_accuracy) == ("many", 75.0)
    assert overview.linear_accuracy == 100.0
    assert overview.lines() == [
        "40 training images of 2 classes, from 10 ('few') to 30 ('many') each; 40 test images",
        "of the images held out for validation, guessing gets 50 % right, always 'many' 75.0 %, a linear classifier "
        "fitted on 40 images 100.0 %",
    ]
    assert overview.modest_target is None  # the linear classifier makes no errors to halve
    assert replace(overview, linear_accuracy=70.13).modest_target == 87.5  # always 'many' is better: 75 %
    assert replace(overview, linear_accuracy=93.33).modest_target == 96.6
    assert overview.advice == (
        "the classes are uneven, 3 to 1: balanced class weights (--class-weights balanced) have networks learn "
        "rare ones better, and mostly cost some accuracy overall"
    )
    assert overview_of(_parts(noise[:39], labels[:39])).advice == ""


@pytest.mark.filterwarnings("error")
def test_images_without_any_contrast() -> None:
    labels = torch.tensor([0] * 10 + [1] * 30)
    assert overview_of(_parts(torch.zeros(40, 1, 8, 8, dtype=torch.uint8), labels)).linear_accuracy == 75.0


def test_the_images_of_the_linear_classifier_are_bounded_by_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.data.overview.LINEAR_WORK", 500 * 64 * 10)
    monkeypatch.setattr("nas.data.overview.LINEAR_LEAST", 300)
    digits = parts_of(load_dataset("digits"), 0)
    assert overview_of(digits).linear_images == 500
    monkeypatch.setattr("nas.data.overview.LINEAR_WORK", 0)
    assert overview_of(digits).linear_images == 300
    monkeypatch.setattr("nas.data.overview.LINEAR_IMAGES", 200)
    assert overview_of(digits).linear_images == 200
