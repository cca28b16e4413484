from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.arch import Input
from nas.data.images import Dataset, ImageSet, LoadedImages, fingerprint
from nas.data.known import KNOWN_DATASETS, OWN_IMAGES_POLICY
from nas.data.load import load_dataset
from nas.data.split import parts_of, split
from nas.data.torchvision_sets import SOURCES
from nas.errors import DataError


def test_digits_need_no_download() -> None:
    dataset = load_dataset("digits")
    assert dataset.image_shape == (1, 8, 8)
    assert (len(dataset.train), len(dataset.test)) == (1438, 359)  # 1,797 * 4/5 and 1/5
    assert (int(dataset.train.images.min()), int(dataset.train.images.max())) == (0, 255)
    # A fifth of each of the counts 178 182 177 183 181 182 181 179 174 180, to one image.
    assert torch.bincount(dataset.test.labels).tolist() == pytest.approx(
        [35.6, 36.4, 35.4, 36.6, 36.2, 36.4, 36.2, 35.8, 34.8, 36.0], abs=1
    )
    assert load_dataset("digits").fingerprint == dataset.fingerprint
    assert dataset.train.images.is_contiguous()
    assert (dataset.num_classes, dataset.policy.shift, dataset.policy.mirror) == (10, 0.06, False)


def test_an_unknown_name_suggests_what_was_meant() -> None:
    with pytest.raises(DataError, match=r"unknown data set 'fashon_mnist'.*path of a folder.*did you mean 'fashion_mn"):
        load_dataset("fashon_mnist")
    with pytest.raises(DataError, match=r"unknown data set ''.*known: cifar10, cifar100, digits"):
        load_dataset("")


@pytest.mark.parametrize("options", [{"image_size": 8}, {"color": True}])
def test_a_named_set_keeps_its_size_and_color(options: dict[str, int]) -> None:
    with pytest.raises(
        DataError,
        match=r"fixed size and color; `image_size` and `color` are for a folder",
    ):
        load_dataset("digits", **options)  # type: ignore[arg-type]


def test_only_what_looks_the_same_mirrored_is_mirrored() -> None:
    assert {name for name, known in KNOWN_DATASETS.items() if known.policy.mirror} == {
        "fashion_mnist",
        "cifar10",
        "cifar100",
    }


def test_the_fingerprint_sees_images_labels_and_parts() -> None:
    images = torch.arange(4 * 4, dtype=torch.uint8).view(4, 1, 2, 2)
    a = ImageSet(images, torch.tensor([0, 1, 0, 1]))
    others = [
        ImageSet(images.flip(0), a.labels),
        ImageSet(images, a.labels.flip(0)),
        ImageSet(images.view(4, 1, 1, 4), a.labels),
        a.subset(torch.tensor([0, 1, 2])),
    ]

    def of(train: ImageSet, test: ImageSet, validation: ImageSet | None = None) -> str:
        return fingerprint(LoadedImages(train, test, ("0", "1"), validation))

    prints = {of(a, a), *(of(a, b) for b in others), *(of(b, a) for b in others), *(of(a, a, b) for b in others)}
    assert len(prints) == 13
    assert all(len(p) == 16 and int(p, 16) >= 0 for p in prints)
    assert of(a, a) == of(a.subset(torch.arange(4)), a)


# The split


@given(
    labels=st.lists(st.integers(0, 9), min_size=1, max_size=300),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None, max_examples=200)
def test_a_split_parts_every_class(labels: list[int], fraction: float, seed: int) -> None:
    tensor = torch.tensor(labels)
    train, validate = split(tensor, fraction, seed)
    assert sorted(train.tolist() + validate.tolist()) == list(range(len(labels)))
    assert train.tolist() == sorted(train.tolist())
    assert validate.tolist() == sorted(validate.tolist())
    sizes = torch.bincount(tensor, minlength=10)
    counts = torch.bincount(tensor[validate], minlength=10)
    assert all(1 <= c < n if n >= 2 else c == 0 for c, n in zip(counts.tolist(), sizes.tolist(), strict=True))
    low, high = int((sizes >= 2).sum()), int((sizes - 1).clamp(min=0).sum())
    assert len(validate) == min(max(round(fraction * len(labels)), low), high)
    if int(sizes[sizes > 0].min()) * min(fraction, 1 - fraction) >= 1:
        assert ((counts - fraction * sizes).abs() < 1).all()


def test_a_split_follows_its_seed() -> None:
    labels = torch.arange(100) % 10
    again = [split(labels, 0.2, seed)[1].tolist() for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]
    assert again[0] == [
        8, 15, 16, 21, 22, 23, 29, 31, 34, 47, 50, 55, 60, 74, 82, 86, 87, 93, 98, 99,
    ]  # fmt: skip


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_a_split_needs_a_fraction(fraction: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        split(torch.tensor([0, 0, 1, 1]), fraction, 0)


def test_every_known_set_has_a_loader() -> None:
    assert {*SOURCES, "digits"} == set(KNOWN_DATASETS)


def test_what_is_known_of_digits_is_so() -> None:
    known, dataset = KNOWN_DATASETS["digits"], load_dataset("digits")
    parts = parts_of(dataset, 0)
    assert known.images == (Input(*dataset.image_shape), dataset.num_classes)
    assert (known.num_train, known.num_test) == (len(dataset.train), len(dataset.test))
    assert known.num_validation == len(parts.validation)


# What is to validate on


def _dataset(train: list[int], validation: list[int] | None = None) -> Dataset:
    def images(labels: list[int]) -> ImageSet:
        return ImageSet(torch.zeros(len(labels), 1, 2, 2, dtype=torch.uint8), torch.tensor(labels))

    given = images(validation) if validation is not None else None
    return Dataset("mine", images(train), images([0, 1]), ("a", "b", "c"), OWN_IMAGES_POLICY, "", given)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (
            [0, 1, 2],
            r"mine: the 3 training images of 3 classes leave 0 to validate on, where 2 classes of 1 are the least",
        ),
        ([0, 1, 2, 2, 2], r"the 5 training images of 3 classes leave 1 to validate on, where"),
        ([0, 1] + [2] * 50, r"the 52 training images of 3 classes leave 9 to validate on, where"),
    ],
)
def test_too_few_images_to_validate_on_are_refused(train: list[int], message: str) -> None:
    for seed in range(3):
        with pytest.raises(DataError, match=message):
            parts_of(_dataset(train), seed)


def test_a_given_part_validates_if_it_can() -> None:
    assert len(parts_of(_dataset([0, 1, 2], [0, 1]), 0).validation) == 2
    with pytest.raises(
        DataError, match=r"mine: the 2 images to validate on are of one class, .* or leave that part out"
    ):
        parts_of(_dataset([0, 1, 2], [1, 1]), 0)
