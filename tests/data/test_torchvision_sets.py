from __future__ import annotations

import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from nas.data.images import Dataset
from nas.data.known import VALIDATION_FRACTION
from nas.data.load import load_dataset
from nas.data.split import split
from nas.errors import DataError

NOWHERE = "http://127.0.0.1:9/"  # refuses at once
MNIST_LIKE = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "kmnist": datasets.KMNIST}

# A test for each of torchvision's sets is isolated: an empty cache and no network (conftest.py).
pytestmark = pytest.mark.usefixtures("cache")
REAL_DATA_DIR = os.environ.get("NAS_DATA_DIR")


@pytest.fixture
def mnist_dir(tmp_path: Path) -> Path:
    """Links to the real files, so that no defect can write into the folder where they lie."""
    if REAL_DATA_DIR is None or not (Path(REAL_DATA_DIR) / "MNIST" / "raw").is_dir():
        pytest.skip("$NAS_DATA_DIR names no folder with MNIST/raw")
    raw = tmp_path / "real/MNIST/raw"
    raw.mkdir(parents=True)
    for place in (Path(REAL_DATA_DIR) / "MNIST" / "raw").iterdir():
        (raw / place.name).symlink_to(place.resolve())
    return tmp_path / "real"


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def gray(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


TRAIN, TEST = gray(20, 0), gray(10, 1)
TRAIN_LABELS, TEST_LABELS = np.arange(20, dtype=np.uint8) % 10, np.arange(10, dtype=np.uint8)
IDX_FILES = [idx(TRAIN), idx(TRAIN_LABELS), idx(TEST), idx(TEST_LABELS)]


@pytest.fixture
def small_gz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes 30 images as the four .gz files of a set like MNIST, whose checksums torchvision then expects."""

    def write(name: str) -> Path:
        cls = MNIST_LIKE[name]
        raw: Path = tmp_path / "data" / cls.__name__ / "raw"
        raw.mkdir(parents=True)
        resources = []
        for (file, _), content in zip(cls.resources, IDX_FILES, strict=True):
            packed = gzip.compress(content)
            (raw / file).write_bytes(packed)
            resources.append((file, md5(packed)))
        monkeypatch.setattr(cls, "resources", resources)
        return raw

    return write


def unpack(raw: Path, pattern: str = "*.gz") -> None:
    for packed in list(raw.glob(pattern)):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_small(dataset: Dataset) -> None:
    assert dataset.train.images.equal(torch.from_numpy(TRAIN).unsqueeze(1))
    assert dataset.train.labels.tolist() == TRAIN_LABELS.tolist()
    assert dataset.test.images.equal(torch.from_numpy(TEST).unsqueeze(1))
    assert dataset.test.labels.tolist() == TEST_LABELS.tolist()


# Real data


def test_mnist_is_the_real_thing(mnist_dir: Path) -> None:
    before = content(mnist_dir).keys()
    dataset = load_dataset("mnist", mnist_dir)
    assert dataset.train.images.shape == (60_000, 1, 28, 28)
    assert dataset.test.images.shape == (10_000, 1, 28, 28)
    assert (dataset.train.images.dtype, dataset.train.labels.dtype) == (torch.uint8, torch.int64)
    assert dataset.train.images.is_contiguous()
    assert torch.bincount(dataset.train.labels).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    assert dataset.train.images.double().mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert dataset.classes == tuple("0123456789")
    assert dataset.fingerprint == "e0130f111822ed58"
    train, validate = split(dataset.train.labels, VALIDATION_FRACTION, seed=1)
    assert (len(train), len(validate)) == (50_000, 10_000)
    assert content(mnist_dir).keys() == before


# Sets like MNIST: found plain or packed


@pytest.mark.parametrize("name", MNIST_LIKE)
def test_gz_files_are_unpacked_into_the_cache_alone(
    name: str, small_gz: Callable[[str], Path], tmp_path: Path, cache: Path
) -> None:
    raw = small_gz(name)
    before = content(tmp_path / "data")
    dataset = load_dataset(name, tmp_path / "data")
    assert_small(dataset)
    assert dataset.name == name
    assert dataset.num_classes == 10
    assert content(tmp_path / "data") == before
    assert sorted(content(cache)) == sorted(f"{raw.parent.name}/raw/{f.removesuffix('.gz')}" for f in os.listdir(raw))


def test_plain_files_are_used_where_they_are(small_gz: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    unpack(small_gz("mnist"))
    assert_small(load_dataset("mnist", tmp_path / "data"))
    assert not cache.exists()


def test_plain_and_packed_files_may_be_mixed(small_gz: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    unpack(small_gz("mnist"), "train-labels*")
    assert_small(load_dataset("mnist", tmp_path / "data"))
    assert len(content(cache)) == 3


def test_the_data_folder_comes_from_the_environment(
    small_gz: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_gz("mnist")
    monkeypatch.setenv("NAS_DATA_DIR", str(tmp_path / "data"))
    assert_small(load_dataset("mnist"))


def test_the_cache_serves_without_a_data_folder(small_gz: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    small_gz("mnist")
    cache.parent.mkdir()
    (tmp_path / "data").rename(cache)
    assert_small(load_dataset("mnist"))


def test_a_spoilt_unpacked_copy_is_unpacked_again(small_gz: Callable[[str], Path], tmp_path: Path, cache: Path) -> None:
    small_gz("mnist")
    load_dataset("mnist", tmp_path / "data")
    copy = cache / "MNIST/raw/train-images-idx3-ubyte"
    spoilt = bytearray(copy.read_bytes())
    spoilt[-1] ^= 1
    copy.write_bytes(spoilt)
    assert_small(load_dataset("mnist", tmp_path / "data"))


# Damage


@pytest.mark.parametrize("alter", [lambda b: b[:-9], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b""])
def test_a_damaged_gz_is_named_with_both_checksums(
    alter: Callable[[bytes], bytes], small_gz: Callable[[str], Path], tmp_path: Path
) -> None:
    packed = small_gz("mnist") / "t10k-images-idx3-ubyte.gz"
    expected = md5(packed.read_bytes())
    load_dataset("mnist", tmp_path / "data")  # a good copy in the cache must not hide the damage
    packed.write_bytes(alter(packed.read_bytes()))
    with pytest.raises(DataError, match=rf"{packed} is damaged.*{md5(packed.read_bytes())}, expected {expected}; "):
        load_dataset("mnist", tmp_path / "data")


@pytest.mark.parametrize(
    ("file", "junk", "problem"),
    [
        ("train-images-idx3-ubyte", b"junk", "expected an IDX file of images, .* starts with 00000803, not 6a756e6b"),
        ("train-images-idx3-ubyte", b"", "starts with 00000803, not nothing"),
        ("train-images-idx3-ubyte", b"\0\0\x08\x03\0\0", "expected an IDX file of images"),
        ("train-images-idx3-ubyte", idx(TRAIN)[:-1], r"it has 15,695 bytes, expected 15,696 for the 20 images"),
        ("train-images-idx3-ubyte", idx(TRAIN) + b"\0", r"it has 15,697 bytes, expected 15,696"),
        ("train-images-idx3-ubyte", idx(TRAIN[:, 1:]), "header says 20 x 27 x 28 images, expected one or more, of 28x"),
        ("train-images-idx3-ubyte", idx(TRAIN[:0]), "header says 0 x 28 x 28 images"),
        ("t10k-images-idx3-ubyte", bytes((0, 0, 8, 3)) + b"\xff" * 12, "header says 4294967295 x"),
        ("train-labels-idx1-ubyte", idx(TRAIN), "expected an IDX file of labels, which starts with 00000801"),
        ("train-labels-idx1-ubyte", idx(TRAIN_LABELS[1:]), "it has 19 labels, expected 20 as .*train-images"),
        ("t10k-labels-idx1-ubyte", idx(TEST_LABELS + 1), "its labels go from 1 to 10, expected 0 to 9"),
    ],
)  # fmt: skip
def test_junk_in_a_plain_file_is_explained(
    file: str, junk: bytes, problem: str, small_gz: Callable[[str], Path], tmp_path: Path
) -> None:
    unpack(small_gz("mnist"))
    place = tmp_path / "data/MNIST/raw" / file
    place.write_bytes(junk)
    with pytest.raises(DataError, match=rf"{place} is damaged: .*{problem}.*remove it and run again"):
        load_dataset("mnist", tmp_path / "data")


# Downloads: a folder is served in place of torchvision's URL


def test_mnist_is_downloaded_into_the_data_folder(
    small_gz: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path,
    base_url: str, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    served = small_gz("mnist")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [NOWHERE, f"{base_url}data/MNIST/raw/"])
    target = tmp_path / "new"
    assert_small(load_dataset("mnist", target))
    out, err = capfd.readouterr()
    assert out == ""
    assert f"downloading mnist into {target}" in err
    assert sorted(content(target)) == sorted(f"MNIST/raw/{f.removesuffix('.gz')}" for f in os.listdir(served))
    assert not content(cache)
    monkeypatch.setattr(datasets.MNIST, "mirrors", [NOWHERE])
    assert_small(load_dataset("mnist", target))  # and again, from there


def test_without_a_writable_data_folder_the_cache_takes_the_download(
    small_gz: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, cache: Path, base_url: str
) -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("there is no folder that not even root can write")
    small_gz("mnist")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{base_url}data/MNIST/raw/"])
    assert_small(load_dataset("mnist", Path("/proc/self")))
    assert len(content(cache)) == 4


def test_a_wrong_download_leaves_nothing_behind(
    small_gz: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, cache: Path, base_url: str
) -> None:
    served = small_gz("mnist")
    (served / "t10k-labels-idx1-ubyte.gz").write_bytes(b"not what was promised")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"{base_url}data/MNIST/raw/"])
    with pytest.raises(DataError, match=r"cannot download mnist \(File not found or corrupted"):
        load_dataset("mnist")
    assert list(cache.rglob("*")) == []


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mnist", "MNIST/raw/train-images-idx3-ubyte.gz, MNIST/raw/train-labels-idx1-ubyte.gz"),
        ("fashion_mnist", "FashionMNIST/raw/train-images-idx3-ubyte.gz"),
        ("kmnist", "KMNIST/raw/train-images-idx3-ubyte.gz"),
        ("emnist_letters", "EMNIST/raw/gzip.zip"),
        ("cifar10", "cifar-10-python.tar.gz"),
        ("cifar100", "cifar-100-python.tar.gz"),
        ("svhn", "train_32x32.mat, test_32x32.mat"),
    ],
)
def test_without_network_the_error_says_what_to_put_where(name: str, wanted: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"cannot download {name} \(.*put {wanted}.* into {tmp_path}, .*`dataset` d"):
        load_dataset(name, tmp_path)


def test_only_missing_files_are_asked_for(small_gz: Callable[[str], Path], tmp_path: Path) -> None:
    (small_gz("mnist") / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"put MNIST/raw/t10k-labels-idx1-ubyte.gz into"):
        load_dataset("mnist", tmp_path / "data")


def test_a_cache_that_cannot_be_written_is_explained(
    small_gz: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    small_gz("mnist")
    with pytest.raises(DataError, match=rf"cannot write data to {tmp_path}/file/nas/MNIST/raw: .*XDG_CACHE_HOME"):
        load_dataset("mnist", tmp_path / "data")
    with pytest.raises(DataError, match=rf"cannot write data to {tmp_path}/file/nas: .*XDG_CACHE_HOME"):
        load_dataset("cifar10")
    with pytest.raises(DataError, match=rf"data folder {tmp_path}/file is not a folder; name one with `data_dir` or"):
        load_dataset("mnist", tmp_path / "file")
