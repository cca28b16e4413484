"""Images as arrays: in Python, and in an .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.arrays import class_names, image_sets, save
from nas.data.load import load_dataset
from nas.errors import DataError

GRAY = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
LABELS = np.array([0, 1, 2, 0, 1, 2])


class Pairs:
    """A data set in the manner of torchvision."""

    classes = ("a", "b", "c")

    def __init__(self, images: list[Any]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], int(LABELS[index])


def test_gray_images_get_their_channel() -> None:
    train, test = image_sets((GRAY, LABELS), (torch.from_numpy(GRAY).unsqueeze(1), LABELS.tolist()))
    assert train.images.shape == (6, 1, 4, 5)
    assert train.labels.dtype == torch.int64
    assert torch.equal(train.images, test.images)
    assert torch.equal(train.labels, test.labels)


def test_a_torchvision_data_set_of_pictures() -> None:
    color = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    pictures = Pairs([Image.fromarray(array) for array in color])
    train, _ = image_sets(pictures, pictures)
    assert torch.equal(train.images, torch.from_numpy(color).permute(0, 3, 1, 2))
    assert train.labels.tolist() == LABELS.tolist()
    assert class_names(pictures, 3) == ("a", "b", "c")
    tensors = Pairs(list(train.images))  # what v2.PILToTensor gives
    assert torch.equal(image_sets(tensors, tensors)[0].images, train.images)


def test_a_file_holds_what_was_saved(tmp_path: Path) -> None:
    train, test = image_sets((GRAY, LABELS), (255 - GRAY, LABELS))
    path = tmp_path / "deep" / "mine.npz"
    save(path, train, test, ("a", "b", "c"))
    dataset = load_dataset(str(path))
    assert torch.equal(dataset.train.images, train.images)
    assert torch.equal(dataset.test.images, test.images)
    assert dataset.classes == ("a", "b", "c")
    assert dataset.name == str(path)
    save(path, test, train, ("a", "b", "c"))
    assert load_dataset(str(path)).fingerprint != dataset.fingerprint
    assert [p.name for p in path.parent.iterdir()] == ["mine.npz"]


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((GRAY / 255, LABELS), r"training part: images are float64 \(6, 4, 5\) and must be uint8"),
        ((GRAY[0], LABELS), r"images are uint8 \(4, 5\) and must be uint8 \(N, H, W\) or \(N, C, H, W\)"),
        ((GRAY, LABELS[:5]), r"labels are int64 \(5,\) and must be whole numbers, one for each of 6"),
        ((GRAY, LABELS / 2), r"labels are float64 \(6,\) and must be whole numbers"),
        ((GRAY, LABELS - 1), r"label -1 is below 0; labels are counted from 0"),
        ((GRAY, LABELS * 0), "every label to train on is 0; at least 2 classes are needed"),
        ((GRAY, LABELS % 2), "label 2 is tested on, 1 is the last trained on"),
        ((GRAY[:, :3], LABELS), r"images of \(1, 3, 5\) to train on and of \(1, 4, 5\) to test on"),
        ((np.zeros((6, 4, 5, 3), np.uint8), LABELS), r"\(6, 4, 5, 3\), channels last; give them as \(N, C, H, W\)"),
        ((GRAY[:0], LABELS[:0]), r"images are uint8 \(0, 1, 4, 5\); there must be some"),
        (7, r"training part is int; give \(images, labels\), or a torchvision data set"),
        ([1, 2, 3], r"item 0 is not \(image, label\)"),
        (Pairs([GRAY[0] / 255] * 6), "images are float64 and must be uint8; leave the data set's transform out"),
        (Pairs([GRAY[0], GRAY[0, :2]]), r"item 1 is \(2, 5\) and the first is \(4, 5\)"),
    ],
)
def test_what_is_no_set_of_images_is_refused(train: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        image_sets(train, (GRAY, LABELS))


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(DataError, match=r"there is no file .*mine.npz; check the path"):
        load_dataset(str(path))
    path.write_text("no archive")
    with pytest.raises(DataError, match=r"cannot read .*mine.npz.* it must be an .npz file of arrays"):
        load_dataset(str(path))
    np.savez(path, train_images=GRAY, train_labels=LABELS)
    with pytest.raises(DataError, match="lacks test_images, test_labels; it needs train_images, train_labels, test_im"):
        load_dataset(str(path))
    arrays = {"train_images": GRAY, "train_labels": LABELS, "test_images": GRAY, "test_labels": LABELS}
    np.savez(path, **arrays, classes=np.array(["a"]))
    with pytest.raises(DataError, match="1 names in `classes`, and labels up to 2"):
        load_dataset(str(path))
    np.savez(path, **{**arrays, "train_labels": np.array([object()] * 6)})
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        load_dataset(str(path))
    with pytest.raises(DataError, match="are taken as they are; leave `image_size` and `color` out"):
        load_dataset(str(path), image_size=8)
