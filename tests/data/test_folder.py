from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import folder, pictures
from nas.data.load import load_dataset
from nas.data.pictures import read_picture
from nas.data.split import parts_of
from nas.errors import DataError


def save(path: Path, value: int | tuple[int, ...] = 100, mode: str = "L", size: tuple[int, int] = (6, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, cat and dog, of six and eighteen gray images, each filled with its own number."""
    for name, count in (("cat", 6), ("dog", 18)):
        for i in range(count):
            save(tmp_path / "pets" / name / f"{i:02}.png", i + 100 * (name == "dog"))
    return tmp_path / "pets"


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    for part, count in (("train", 3), ("test", 1)):
        for name, value in (("dog", 20), ("cat", 10)):
            for i in range(count):
                save(tmp_path / "parted" / part / name / f"{i}.png", value + i + 100 * (part == "test"))
    return tmp_path / "parted"


def test_one_folder_is_split_by_class(root: Path) -> None:
    dataset = load_dataset(str(root))
    assert dataset.name == str(root)
    assert dataset.classes == ("cat", "dog")
    assert dataset.image_shape == (1, 4, 6)
    assert torch.bincount(dataset.train.labels).tolist() == [5, 15]
    assert torch.bincount(dataset.test.labels).tolist() == [1, 3]
    values = torch.cat([dataset.train.images, dataset.test.images])[:, 0, 0, 0].tolist()
    assert sorted(values) == [*range(6), *range(100, 118)]
    labels = torch.cat([dataset.train.labels, dataset.test.labels]).tolist()
    assert all((value >= 100) == bool(label) for value, label in zip(values, labels, strict=True))
    assert not dataset.policy.mirror
    assert load_dataset(str(root)).fingerprint == dataset.fingerprint


def test_given_parts_are_kept(parted: Path) -> None:
    dataset = load_dataset(str(parted))
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.images[:, 0, 0, 0].tolist() == [10, 11, 12, 20, 21, 22]
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.test.images[:, 0, 0, 0].tolist() == [110, 120]
    assert dataset.test.labels.tolist() == [0, 1]


def test_a_name_is_a_folder_where_one_exists(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert load_dataset("pets").name == str(root)
    root.rename(root.parent / "digits")
    assert load_dataset("digits").image_shape == (1, 8, 8)  # a known name wins
    assert load_dataset("./digits").image_shape == (1, 4, 6)


@pytest.mark.parametrize(
    "suffix",
    [".png", ".JPG", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pnm", ".avif", ".jp2"],
)
def test_every_format_is_read(suffix: str, root: Path) -> None:
    save(root / "cat" / f"new{suffix}", (200, 100, 0), "RGB")
    images = folder.load(root)[0].images
    assert images.shape[1:] == (3, 4, 6)
    pixels = read_picture(root / "cat" / f"new{suffix}", None, None).pixels
    assert np.abs(pixels.astype(int) - (200, 100, 0)).max() <= 6


def test_color_follows_the_images_unless_asked_for(root: Path) -> None:
    assert load_dataset(str(root), color=True).image_shape == (3, 4, 6)
    save(root / "dog" / "red.png", (255, 0, 0), "RGB")
    dataset = load_dataset(str(root))
    assert dataset.image_shape == (3, 4, 6)
    images = torch.cat([dataset.train.images, dataset.test.images])
    red = images[:, 0, 0, 0] == 255
    assert images[red].amax(dim=(0, 2, 3)).tolist() == [255, 0, 0]
    assert images[~red][:, 0].equal(images[~red][:, 2])
    assert load_dataset(str(root), color=False).image_shape == (1, 4, 6)


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [("1", 1, 255), ("LA", (60, 255), 60), ("LA", (60, 0), 255)],
)
def test_gray_modes_become_eight_bits(mode: str, value: int, expected: int, tmp_path: Path) -> None:
    place = save(tmp_path / "a.png", value, mode)
    assert read_picture(place, None, None).pixels.tolist() == [[expected] * 6] * 4


def test_transparent_pixels_are_white(tmp_path: Path) -> None:
    place = save(tmp_path / "a.png", (0, 0, 0, 0), "RGBA")
    assert (read_picture(place, None, None).pixels == 255).all()
    assert read_picture(place, None, None).pixels.shape == (4, 6, 3)


def test_the_orientation_of_a_photograph_is_obeyed(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg", None, None).pixels.shape == (6, 4, 3)


def test_images_are_resized_when_asked(root: Path) -> None:
    save(root / "cat" / "large.png", 77, size=(30, 50))
    dataset = load_dataset(str(root), image_size=5)
    assert dataset.image_shape == (1, 5, 5)
    assert 77 in torch.cat([dataset.train.images, dataset.test.images])[:, 0, 2, 2].tolist()


def test_resizing_is_smooth(tmp_path: Path) -> None:
    (tmp_path / "a.png").parent.mkdir(exist_ok=True)
    Image.fromarray(np.array([[0, 255]], dtype=np.uint8)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 4, None).pixels[0].tolist() == [0, 64, 191, 255]


def test_different_sizes_need_an_image_size(root: Path) -> None:
    large = save(root / "dog" / "large.png", size=(30, 50))
    first = root / "cat" / "00.png"
    with pytest.raises(DataError, match=rf"{first} has 6x4 pixels and {large} has 30x50; give `image_size`"):
        load_dataset(str(root))


@pytest.mark.parametrize("size", [0, -3, 1025])
def test_the_image_size_has_bounds(size: int, root: Path) -> None:
    with pytest.raises(DataError, match=rf"`image_size` = {size} is not between 1 and 1024 pixels"):
        load_dataset(str(root), image_size=size)


def deep(root: Path, values: list[int], suffix: str = ".png") -> list[int]:
    """Return the pixels that come of one gray image of 16 bits for each value."""
    for label, value in enumerate(values):
        path = root / str(label % 2) / f"{label}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".pgm":
            path.write_bytes(b"P5 2 1 65535\n" + value.to_bytes(2, "big") * 2)
        else:
            Image.fromarray(np.full((1, 2), value, np.uint16)).save(path)
    found = folder.load(root)
    images = torch.cat([found.train.images, found.test.images])[:, 0, 0, 0].tolist()
    return sorted(images)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize(
    ("values", "pixels"),
    [
        ([0, 7, 20, 255], [0, 7, 20, 255]),  # 8 bits in a file of 16
        ([0, 16, 1023, 4095], [0, 1, 63, 255]),
        ([0, 0x8000, 0x12FF, 0xFFFF], [0, 0x12, 0x80, 0xFF]),
        ([7000, 7016, 8000, 9100], [0, 1, 62, 131]),
    ],
)
def test_deep_images_are_read_by_their_values(
    suffix: str, values: list[int], pixels: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deep(tmp_path, values, suffix) == pixels
    assert ("each byte is " in capsys.readouterr().err) == (values[-1] > 255)
    assert folder.load(tmp_path, color=True).train.images.shape[1] == 3


def deep_color(path: Path, value: int) -> None:
    """Write a PNG of one pixel with 16 bits a channel, which Pillow cannot."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + value.to_bytes(2, "big") * 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def test_deep_colors_of_few_bits_are_refused(tmp_path: Path) -> None:
    for highest in (0x00FF, 0x0FFF, 0xFFFF):
        for label in range(2):
            for number, value in enumerate((0, highest)):
                deep_color(tmp_path / str(label) / f"{number}.png", value)
        if highest < 0x1FFF:
            with pytest.raises(
                DataError, match=rf"16 bits a channel, of which at most {highest.bit_length()} are used"
            ):
                folder.load(tmp_path)
    assert int(folder.load(tmp_path).train.images.max()) == 255


def test_a_deep_image_is_resized_before_its_bits_are_cut(tmp_path: Path) -> None:
    for label in range(2):
        for number in range(2):
            path = tmp_path / str(label) / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 6), 4095 * number, np.uint16)).save(path)
    found = folder.load(tmp_path, image_size=4)
    images = torch.cat([found.train.images, found.test.images])
    assert sorted(images.amax(dim=(1, 2, 3)).tolist()) == [0, 0, 255, 255]
    assert images.amin(dim=(1, 2, 3)).equal(images.amax(dim=(1, 2, 3)))


def test_what_systems_leave_behind_is_ignored(root: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", ".hidden.png", "desktop.ini", "Icon\r"):
        (root / "cat" / name).write_text("no image")
    for name in (".git", "__MACOSX", "cat/@eaDir", "$RECYCLE.BIN", "lost+found", "dog/.ipynb_checkpoints"):
        save(root / name / "0.png")
    (root / "README.txt").write_text("about these")
    assert sum(map(len, folder.load(root)[:2])) == 24


def test_files_that_are_no_images_are_passed_over_with_a_word(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "cat" / "notes.txt").write_text("no image")
    assert sum(map(len, folder.load(root)[:2])) == 24
    assert "passed over 1 file that is no image by its suffix, such as " in capsys.readouterr().err
    (root / "dog" / "dog.csv").write_text("no image")
    folder.load(root)
    assert f"passed over 2 files that are no images by suffix, such as {root}/cat/notes.txt" in capsys.readouterr().err
    for path in (root / "cat").glob("*.png"):
        path.rename(path.with_suffix(".raw"))
    with pytest.raises(
        DataError, match=r"0 where 2 belong, .* and 7 files that are no images by their suffix, such as"
    ):
        folder.load(root)


@pytest.mark.parametrize("body", [b"", b"no image at all", None])
def test_a_damaged_image_is_named(body: bytes | None, root: Path) -> None:
    place = save(root / "cat" / "03.png", size=(64, 64))
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2] if body is None else body)
    with pytest.raises(DataError, match=r"cat/03.png cannot be read as an image \(.*replace or remove it"):
        load_dataset(str(root), image_size=8)


def test_pixels_of_unknown_range_are_refused(root: Path) -> None:
    save(root / "cat" / "float.tiff", 1, "F")
    with pytest.raises(DataError, match=r"float.tiff holds pixels as fractions"):
        load_dataset(str(root))


def test_folders_that_are_no_data_set_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"there is no folder {tmp_path}/none; check the path"):
        load_dataset(f"{tmp_path}/none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=rf"{tmp_path}/file is a file"):
        load_dataset(f"{tmp_path}/file")
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match=rf"{tmp_path}/set holds no class folders; put the images of each class"):
        load_dataset(f"{tmp_path}/set")
    save(tmp_path / "set/cat/0.png")
    with pytest.raises(DataError, match=r"one class folder only, cat/; at least 2"):
        load_dataset(f"{tmp_path}/set")
    (tmp_path / "set/dog").mkdir()
    with pytest.raises(DataError, match=r"set/cat holds too few images: 1 where 2 belong, the least that can be split"):
        load_dataset(f"{tmp_path}/set")
    save(tmp_path / "set/cat/1.png")
    with pytest.raises(DataError, match=r"set/dog holds too few images: 0 where 2 belong"):
        load_dataset(f"{tmp_path}/set")
    save(tmp_path / "set/cat/more/0.png")
    with pytest.raises(DataError, match=r"set/cat/more is a folder inside the class folder .*set/cat"):
        load_dataset(f"{tmp_path}/set")


def test_both_parts_need_the_same_classes(parted: Path) -> None:
    save(parted / "train/bird/0.png")
    save(parted / "train/bird/1.png")
    save(parted / "test/cow/0.png")
    with pytest.raises(DataError, match=r"different classes \(only in train/: bird; only in test/: cow\)"):
        load_dataset(str(parted))


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "TESTING"),
        ("TRAIN", "valid", "Test"),
        ("train", "dev", "test"),
    ],
)
def test_a_part_to_validate_on_validates(train: str, val: str, test: str, parted: Path) -> None:
    for name, new in (("train", train), ("test", test)):
        (parted / name).rename(parted / "moved")
        (parted / "moved").rename(parted / new)
    without = load_dataset(str(parted))
    for name, value in (("dog", 70), ("cat", 60)):
        save(parted / val / name / "0.png", value)
    dataset = load_dataset(str(parted))
    parts = parts_of(dataset, 0)
    assert parts.train.images[:, 0, 0, 0].tolist() == [10, 11, 12, 20, 21, 22]
    assert parts.validation.images[:, 0, 0, 0].tolist() == [60, 70]
    assert parts.validation.labels.tolist() == [0, 1]
    assert parts.whole_train.images[:, 0, 0, 0].tolist() == [10, 11, 12, 20, 21, 22, 60, 70]
    assert parts.test.images[:, 0, 0, 0].tolist() == [110, 120]
    assert dataset.fingerprint != without.fingerprint


def test_what_is_held_out_tests(parted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = load_dataset(str(parted))
    (parted / "test").rename(parted / "val")
    assert load_dataset(str(parted)).fingerprint == whole.fingerprint
    assert "with no test part, the validation part is it" in capsys.readouterr().err
    shutil.rmtree(parted / "val")
    dataset = load_dataset(str(parted))  # train/ alone is split, as a folder of classes is
    assert (len(dataset.train), len(dataset.test)) == (4, 2)


def test_a_class_may_be_called_as_a_part_is(tmp_path: Path) -> None:
    for name in ("train", "bus", "test"):
        for number in range(3):
            save(tmp_path / name / f"{number}.png")
    assert load_dataset(str(tmp_path)).classes == ("bus", "test", "train")


def test_other_parts_are_not_passed_over(parted: Path) -> None:
    save(parted / "extra/cat/0.png")
    with pytest.raises(DataError, match=r"holds test/ and train/ and also extra/; .*move the others away"):
        load_dataset(str(parted))
    (parted / "extra").rename(parted / "Training")
    with pytest.raises(DataError, match=r"holds Training/ and train/, which are the same; remove one"):
        load_dataset(str(parted))


def test_no_decoder_that_runs_a_program_is_asked(root: Path) -> None:
    place = root / "cat" / "00.png"
    Image.new("RGB", (6, 4)).save(place, format="EPS")
    with pytest.raises(DataError, match=r"00.png cannot be read as an image \(cannot identify image file"):
        load_dataset(str(root))


def test_a_picture_of_too_many_pixels_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PIXELS", 23)
    with pytest.raises(DataError, match=r"00.png has 6x4 pixels, more than 23; make it smaller"):
        load_dataset(str(root))


def test_more_than_memory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MAX_BYTES", 24 * 6 * 4)
    assert len(load_dataset(str(root)).train) == 20
    monkeypatch.setattr(folder, "MAX_BYTES", 24 * 6 * 4 - 1)
    with pytest.raises(DataError, match=r"take more than .* GiB in memory.*smaller `image_size`"):
        load_dataset(str(root))


def test_slow_loading_reports_to_standard_error(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folder, "PROGRESS_SECONDS", float("inf"))
    load_dataset(str(root))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(folder, "PROGRESS_SECONDS", 0.0)
    load_dataset(str(root))
    out, err = capsys.readouterr()
    assert out == ""
    assert f"reading {root}: 23 of 24 images" in err
