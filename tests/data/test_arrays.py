"""Images as arrays: in Python, and in an .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.arrays import class_names, load, read_pairs, save
from nas.data.images import LoadedImages
from nas.data.load import load_dataset
from nas.data.split import parts_of
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


def parts(train: Any, test: Any = (GRAY, LABELS), names: tuple[str, ...] = ()) -> LoadedImages:
    return read_pairs({"train": train, "test": test}, names)


def write(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=True, **arrays)
    return path


def test_gray_images_get_their_channel() -> None:
    train, test = parts((GRAY, LABELS), (torch.from_numpy(GRAY).unsqueeze(1), LABELS.tolist()))[:2]
    assert train.images.shape == (6, 1, 4, 5)
    assert train.labels.dtype == torch.int64
    assert torch.equal(train.images, test.images)
    assert torch.equal(train.labels, test.labels)


def test_a_torchvision_data_set_of_pictures() -> None:
    color = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), dtype=np.uint8)
    pictures = Pairs([Image.fromarray(array) for array in color])
    train = parts(pictures, pictures).train
    assert torch.equal(train.images, torch.from_numpy(color).permute(0, 3, 1, 2))
    assert train.labels.tolist() == LABELS.tolist()
    assert parts(pictures, pictures, class_names(pictures)).classes == ("a", "b", "c")
    tensors = Pairs(list(train.images))  # what v2.PILToTensor gives
    assert torch.equal(parts(tensors, tensors)[0].images, train.images)


def test_a_file_holds_what_was_saved(tmp_path: Path) -> None:
    images = parts((GRAY, LABELS), (255 - GRAY, LABELS), ("a", "b", "c"))
    path = tmp_path / "deep" / "mine.npz"
    save(path, images)
    dataset = load_dataset(str(path))
    assert torch.equal(dataset.train.images, images.train.images)
    assert torch.equal(dataset.test.images, images.test.images)
    assert dataset.validation is None
    assert dataset.classes == ("a", "b", "c")
    assert dataset.name == str(path)
    save(path, images._replace(train=images.test, test=images.train))
    assert load_dataset(str(path)).fingerprint != dataset.fingerprint
    assert [p.name for p in path.parent.iterdir()] == ["mine.npz"]


# What values say


RANGES = [
    ([0, 255, 7], [0, 255, 7]),  # bytes in a wider type
    ([0, 4095, 16], [0, 255, 1]),  # 12 bits
    ([0, 65535, 256], [0, 255, 1]),
    ([7000, 9100, 7016], [0, 131, 1]),  # a thermal camera: of 14 bits, a tenth is used
    ([-1024, 3071, -1008], [0, 255, 1]),  # Hounsfield units
    ([0, 2**40, 2**39], [0, 128, 64]),
]


@pytest.mark.parametrize(
    ("type_", "values", "pixels"),
    [
        (type_, values, pixels)
        for type_ in map(np.dtype, ("<i8", ">i8", "<u2", ">u4", "uint64", "int16"))
        for values, pixels in RANGES
        if min(values) >= np.iinfo(type_).min and max(values) <= np.iinfo(type_).max
    ],
)
def test_whole_numbers_of_any_type_become_bytes(type_: np.dtype[Any], values: list[int], pixels: list[int]) -> None:
    images = np.array(values * 2, type_).reshape(6, 1, 1)
    assert parts((images, LABELS), (images, LABELS)).train.images.flatten().tolist() == pixels * 2


@pytest.mark.parametrize("type_", [np.float32, np.float64, np.float16, bool])
def test_fractions_up_to_one_become_bytes(type_: type, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.array([0, 1, 0.5, 0, 0, 0]).reshape(6, 1, 1).astype(type_)
    found = parts((images, LABELS), (images, LABELS)).train.images.flatten().tolist()
    assert found == [0, 255, 255 if type_ is bool else 128, 0, 0, 0]
    assert (
        "the pixels are fractions from 0 to 1, and each byte is the value times 255, rounded" in capsys.readouterr().err
    )
    whole = (GRAY.astype(np.float64), LABELS)  # bytes in a wider type
    assert torch.equal(parts(whole, whole).train.images[:, 0], torch.from_numpy(GRAY))


def test_what_deep_values_became_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    images = np.array([7000, 9100] * 3, np.uint16).reshape(6, 1, 1)
    parts((images, LABELS), (images, LABELS))
    assert (
        "the pixels are values from 7,000 to 9,100, and each byte is (value - 7000) // 16;" in capsys.readouterr().err
    )
    parts((GRAY, LABELS))
    assert capsys.readouterr().err == ""


def test_all_images_say_what_the_type_is() -> None:
    deep = [np.full((2, 2), 255 + i * 100, np.uint16) for i in range(6)]
    with pytest.raises(DataError, match=r"uint16 up to 755 and uint8 up to 106"):
        parts(Pairs(deep), (GRAY[:, :2, :2], LABELS))
    found = parts(Pairs(deep), Pairs(deep)).train.images
    assert found.amax(dim=(1, 2, 3)).tolist() == [63, 88, 113, 138, 163, 188]


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[:, :, ::-1], np.s_[::-1]])
def test_mirrored_arrays_are_taken(view: Any) -> None:
    images = GRAY[view]
    found = parts((images, LABELS[::-1]))
    assert torch.equal(found.train.images[:, 0], torch.from_numpy(images.copy()))
    assert found.train.labels.tolist() == LABELS[::-1].tolist()


def test_channels_may_come_last() -> None:
    color = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
    first = color.transpose(0, 3, 1, 2)
    for given in (color, first, torch.from_numpy(color)):
        assert torch.equal(parts((given, LABELS), (color, LABELS)).train.images, torch.from_numpy(first.copy()))
    bands = np.zeros((6, 8, 8, 5), np.uint8)
    assert parts((bands, LABELS), (bands, LABELS)).train.images.shape == (6, 5, 8, 8)


def palette(index: int) -> Image.Image:
    """A picture whose one color is white, under a number that says nothing."""
    picture = Image.new("P", (4, 4), index)
    picture.putpalette([255 if i // 3 == index else 0 for i in range(768)])
    return picture


def test_pictures_show_what_they_show_in_a_viewer() -> None:
    whites = [palette(3), palette(200), Image.new("L", (4, 4), 255), Image.new("1", (4, 4), 1), palette(1)]
    deep = Image.fromarray(np.full((4, 4), 4095, np.uint16))
    pictures = Pairs([*whites, Image.new("RGBA", (4, 4), (9, 9, 9, 0))])
    assert (parts(pictures, pictures).train.images == 255).all()
    assert parts(pictures, pictures).train.images.shape[1] == 3
    dark = Pairs([deep] + [Image.fromarray(np.zeros((4, 4), np.uint16))] * 5)
    assert parts(dark, dark).train.images.amax(dim=(1, 2, 3)).tolist() == [255, 0, 0, 0, 0, 0]
    half = Pairs([Image.fromarray(np.full((4, 4), 2000, np.uint16))] * 6)  # judged with the training part
    assert parts(dark, half).test.images.amax(dim=(1, 2, 3)).tolist() == [125] * 6
    with pytest.raises(DataError, match=r"training part: images are int32 and uint8; give all of them in one type"):
        parts(Pairs([deep, Image.new("L", (4, 4))]))


def test_what_a_data_set_raises_is_the_cause(tmp_path: Path) -> None:
    class Damaged(Pairs):
        def __getitem__(self, index: int) -> tuple[Any, int]:
            raise OSError("image file is truncated")

    with pytest.raises(DataError, match=r"item 0 cannot be read \(image file is truncated\); leave it out") as raised:
        parts(Damaged([GRAY[0]]))
    assert isinstance(raised.value.__cause__, OSError)
    Image.new("L", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    with (
        Image.open(tmp_path / "a.png") as picture,
        pytest.raises(DataError, match=r"item 0 cannot be read as an image"),
    ):
        parts(Pairs([picture]))


# Labels


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        ([0, 255, 0, 255, 0, 255], (), ("0", "255")),
        ([1, 2, 10, 1, 2, 10], (), ("1", "2", "10")),
        ([1, 2, 3, 1, 2, 3], ("a", "b", "c"), ("a", "b", "c")),  # a name for each class
        ([0, 1, 3, 0, 1, 3], ("a", "b", "c", "d"), ("a", "b", "d")),  # a name for each label
        ([[4], [5], [6], [4], [5], [6]], (), ("4", "5", "6")),
        ([1.0, 2.0, 3.0, 1.0, 2.0, 3.0], (), ("1", "2", "3")),
        ([False, True] * 3, (), ("0", "1")),
        (["dog", "cat", "owl"] * 2, (), ("cat", "dog", "owl")),
        (["dog", "cat", "owl"] * 2, ("owl", "dog", "cow", "cat"), ("owl", "dog", "cat")),
        ([b"dog", b"cat"] * 3, (), ("cat", "dog")),
        (np.array(["dog", "cat"] * 3, object), (), ("cat", "dog")),
        (np.eye(3, dtype=np.float32)[LABELS], (), ("0", "1", "2")),
        (np.eye(5, dtype=np.uint8)[[1, 4, 1, 4, 1, 4]] * 7, ("a", "b", "c", "d", "e"), ("b", "e")),
        (torch.tensor([3, 5, 3, 5, 3, 5]), (), ("3", "5")),
        (np.array([1, 0] * 3, ">i4"), (), ("0", "1")),
        (np.array([1, 2**63 - 1] * 3, np.uint64), (), ("1", str(2**63 - 1))),
    ],
)
def test_classes_are_the_labels_that_are_used(labels: Any, names: tuple[str, ...], classes: tuple[str, ...]) -> None:
    found = parts((GRAY, labels), (GRAY, labels), names)
    assert found.classes == classes
    said = np.asarray(labels) if not torch.is_tensor(labels) else labels.numpy()
    if said.ndim == 2:
        said = said.argmax(axis=1) if said.shape[1] > 1 else said[:, 0]
    for first, second in zip(*np.triu_indices(6), strict=True):
        assert (said[first] == said[second]) == bool(found.train.labels[first] == found.train.labels[second])
    if said.dtype.kind in "US":  # each image has the name that it was given
        texts = [label.decode() if isinstance(label, bytes) else str(label) for label in said]
        assert [found.classes[label] for label in found.train.labels] == texts
    assert sorted(set(found.train.labels.tolist())) == list(range(len(classes)))


def test_labels_that_are_read_as_others_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    parts((GRAY, LABELS * 100), (GRAY, LABELS * 100))
    assert "the labels 0, 100, 200 are read as 3 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((GRAY / 255, LABELS), r"images are float64 and uint8; give all of them in one type"),
        ((GRAY.astype(complex), LABELS), r"images are complex128 and must be numbers"),
        ((GRAY.astype(str), LABELS), r"images are str\d+ and must be numbers"),
        ((GRAY[0], LABELS), r"training part: images are uint8 \(4, 5\) and must be \(N, H, W\), \(N, C, H, W\) or"),
        ((np.zeros((6, 784)), LABELS), r"float64 \(6, 784\) .*; images.reshape\(-1, 28, 28\) may be what is meant"),
        ((GRAY, LABELS[:5]), r"labels are int64 \(5,\) and must be whole numbers or texts, one for each of 6"),
        ((GRAY, LABELS / 2), r"training part: label 0.5 is not a whole number"),
        ((GRAY, LABELS * np.nan), r"label nan is not a whole number"),
        ((GRAY, LABELS - 1), r"label -1 is below 0; labels are counted from 0"),
        ((GRAY, np.array([0, 2**64 - 1] * 3, np.uint64)), r"label 18446744073709551615 is not a whole number below"),
        ((GRAY, LABELS * 0), "every label to train on is 0; at least 2 classes are needed"),
        ((GRAY, LABELS % 2), "test part: label 2 is not one of those trained on, 0, 1"),
        ((GRAY, ["a", "b"] * 3), "labels are numbers in one part and texts in another"),
        ((GRAY, np.ones((6, 14), np.uint8)), r"labels are uint8 \(6, 14\) and not one-hot \(image 0 has \[1, 1, 1, 1"),
        ((GRAY, np.zeros((6, 2, 2))), r"labels are float64 \(6, 2, 2\); each image has one class"),
        ((GRAY, [[0], [1, 2]] * 3), r"labels are no array"),
        ((GRAY, [None] * 6), r"labels are object \(6,\) and must be whole numbers or texts"),
        ((GRAY[:, :3], LABELS), r"images of \(1, 3, 5\) to train on and of \(1, 4, 5\) to test on"),
        ((GRAY[:0], LABELS[:0]), r"images are uint8 \(0, 4, 5\); there must be some"),
        (([GRAY[0], GRAY[0, :2]], LABELS), r"list is no array"),
        (7, r"training part is int; give \(images, labels\), or a torchvision data set"),
        ([1, 2, 3], r"item 0 is not \(image, label\)"),
        (Pairs([GRAY[0], GRAY[0, :2]]), r"item 1 is \(2, 5\) and the first is \(4, 5\)"),
        (Pairs([Image.fromarray(GRAY[0]), GRAY[1]]), r"some images are pictures and some are arrays"),
        (Pairs([Image.new("F", (5, 4))] * 6), r"item 0 holds pixels as fractions"),
        (Pairs([]), r"images are uint8 \(0, 1, 1\); there must be some"),
    ],
)
def test_what_is_no_set_of_images_is_refused(train: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parts(train)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((GRAY - 5.5), "images are fractions from -5.5 to 113.5, of which the range is unknown; give every part"),
        (GRAY / 119 * 2 - 1, "images are fractions from -1 to 1, of which"),
        (GRAY * 2.5, "images are fractions from 0 to 297.5, of which"),
        (GRAY * np.nan, "images are fractions from nan to nan, of which"),
        (np.where(GRAY == 7, np.inf, GRAY), "images are fractions from 0 to inf, of which"),
    ],
)
def test_fractions_of_unknown_range_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parts((images, LABELS), (images, LABELS))


def test_both_parts_have_one_range() -> None:
    for train, test in ((GRAY / 119, GRAY * 1.0), (GRAY * 1.0, GRAY / 119)):
        with pytest.raises(DataError, match=r"fractions from 0 to 119, of which the range is unknown; give every part"):
            parts((train, LABELS), (test, LABELS))
    with pytest.raises(DataError, match=r"uint16 up to 119 and uint16 up to 30,583; give"):
        parts((GRAY.astype(np.uint16), LABELS), (GRAY.astype(np.uint16) * 257, LABELS))


# Files


def test_the_names_of_arrays_are_those_of_other_tools(tmp_path: Path) -> None:
    keras = {"x_train": GRAY, "y_train": LABELS, "x_test": GRAY, "y_test": LABELS}
    expected = load(write(tmp_path / "keras.npz", **keras))
    for names in (
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "Y_train", "X_test", "Y_test"),
        ("training_data", "training_targets", "Testing_Data", "testing-target"),
    ):
        found = load(write(tmp_path / "a.NPZ", **dict(zip(names, keras.values(), strict=True)), author=np.array("me")))
        assert torch.equal(found.train.images, expected.train.images)
        assert torch.equal(found.test.labels, expected.test.labels)
    assert load_dataset(str(tmp_path / "a.NPZ")).num_classes == 3
    with pytest.raises(DataError, match=r"holds x_train and train_x, which are the same; leave one of them out"):
        load(write(tmp_path / "both.npz", **keras, train_x=GRAY))


def test_a_part_to_validate_on_validates(tmp_path: Path) -> None:
    whole = {f"train_{k}": v for k, v in (("images", GRAY), ("labels", LABELS[:, None]))}
    file = write(
        tmp_path / "a.npz", **whole, val_images=GRAY + 1, val_labels=LABELS, test_images=GRAY + 2, test_labels=LABELS
    )
    dataset = load_dataset(str(file))
    split = parts_of(dataset, 0)
    assert torch.equal(split.train.images, dataset.train.images)
    assert torch.equal(split.validation.images[:, 0], torch.from_numpy(GRAY + 1))
    assert len(split.whole_train) == 12
    assert torch.equal(split.whole_train.labels, torch.from_numpy(np.tile(LABELS, 2)))
    assert torch.equal(split.test.images[:, 0], torch.from_numpy(GRAY + 2))
    others = {"val_images": GRAY + 3, "val_labels": LABELS, "test_images": GRAY + 2, "test_labels": LABELS}
    assert load_dataset(str(write(file, **whole, **others))).fingerprint != dataset.fingerprint
    save(tmp_path / "again.npz", load(file))
    assert load_dataset(str(tmp_path / "again.npz")).fingerprint == load_dataset(str(file)).fingerprint


def test_a_test_part_is_what_is_held_out_or_split_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {"train_images": GRAY, "train_labels": LABELS}
    found = load(write(tmp_path / "a.npz", **whole, val_images=GRAY + 1, val_labels=LABELS))
    assert found.validation is None
    assert torch.equal(found.test.images[:, 0], torch.from_numpy(GRAY + 1))
    assert "with no test part, the validation part is it" in capsys.readouterr().err
    found = load(write(tmp_path / "a.npz", images=GRAY, labels=LABELS))
    assert torch.bincount(found.test.labels).tolist() == [1, 1, 1]
    assert len(found.train) == 3


def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.npz"
    with pytest.raises(DataError, match=r"there is no file .*mine.npz; check the path"):
        load_dataset(str(path))
    path.write_text("no archive")
    with pytest.raises(DataError, match=r"cannot read .*mine.npz.* it must be an .npz file of arrays"):
        load_dataset(str(path))
    with path.open("wb") as file:
        np.save(file, GRAY)
    with pytest.raises(DataError, match=r"cannot read .*mine.npz: .* it must be an .npz file of arrays, as np.savez"):
        load_dataset(str(path))
    with pytest.raises(DataError, match=r"lacks train_labels; it needs train_images, .*, and holds x, author"):
        load(write(path, x=GRAY, author=np.array("me")))
    with pytest.raises(DataError, match=r"lacks train_images, train_labels; it needs .*, and holds train_of_thought"):
        load(write(path, train_of_thought=GRAY))
    with pytest.raises(DataError, match=r"lacks test_labels; it needs"):
        load(write(path, x_train=GRAY, y_train=LABELS, x_test=GRAY))
    arrays = {"train_images": GRAY, "train_labels": LABELS, "test_images": GRAY, "test_labels": LABELS}
    with pytest.raises(DataError, match="1 names in `classes`, and labels up to 2, 3 of them; give one for each class"):
        load(write(path, **arrays, classes=np.array(["a"])))
    with pytest.raises(DataError, match="Object arrays cannot be loaded"):
        load(write(path, **{**arrays, "train_labels": np.array([object()] * 6)}))
    with pytest.raises(DataError, match="are taken as they are; leave `image_size` and `color` out"):
        load_dataset(str(path), image_size=8)
    monkeypatch.setattr("nas.data.arrays.MAX_BYTES", 2 * (GRAY.nbytes + LABELS.nbytes))
    with pytest.raises(DataError, match=r"the arrays of .*mine.npz take .* GiB in memory, more than the"):
        load(write(path, **arrays))


def test_an_object_is_not_made_of_a_file(tmp_path: Path) -> None:
    """An array of objects is a pickle, which runs code: one that is not needed is not even read."""
    arrays = {"train_images": GRAY, "train_labels": LABELS, "test_images": GRAY, "test_labels": LABELS}
    assert len(load(write(tmp_path / "a.npz", **arrays, notes=np.array([object()]))).train) == 6
