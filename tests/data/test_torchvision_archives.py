from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from nas.data.load import load_dataset
from nas.errors import DataError

pytestmark = pytest.mark.usefixtures("cache")

CIFAR = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}
TRAIN = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, (10, 28, 28), dtype=np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(20, dtype=np.uint8) % 10, np.arange(10, dtype=np.uint8)


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def emnist_files() -> dict[str, bytes]:
    labels = [TRAIN_LABELS + 1, TEST_LABELS + 17]
    contents = [idx(TRAIN), idx(labels[0]), idx(TEST), idx(labels[1])]
    kinds = ["train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1"]
    return {f"emnist-letters-{kind}-ubyte": body for kind, body in zip(kinds, contents, strict=True)}


def write_emnist_zip(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = folder / "gzip.zip"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(place, "w") as packed:
        for name, body in emnist_files().items():
            packed.writestr(f"gzip/{name}.gz", gzip.compress(body))
            packed.writestr(f"gzip/{name.replace('letters', 'byclass')}.gz", b"unused")
    monkeypatch.setattr(datasets.EMNIST, "md5", md5(place.read_bytes()))
    return place


@pytest.mark.parametrize("form", ["plain", "gz", "zip"])
def test_emnist_letters_are_upright_and_count_from_0(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    raw = tmp_path / "data/EMNIST/raw"
    if form == "zip":
        write_emnist_zip(raw, monkeypatch)
    else:
        raw.mkdir(parents=True)
        for name, body in emnist_files().items():
            (raw / f"{name}{'.gz' * (form == 'gz')}").write_bytes(gzip.compress(body) if form == "gz" else body)
    dataset = load_dataset("emnist_letters", tmp_path / "data")
    assert dataset.train.images[3, 0].equal(torch.from_numpy(TRAIN[3].T.copy()))
    assert dataset.train.images.is_contiguous()
    assert dataset.train.labels.tolist() == TRAIN_LABELS.tolist()
    assert dataset.test.labels.tolist() == list(range(16, 26))
    assert "".join(dataset.classes) == "abcdefghijklmnopqrstuvwxyz"
    assert len(content(cache)) == (0 if form == "plain" else 4)


def write_cifar(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> np.ndarray:
    """Four images a batch file in the real format; returns the images of all batches, training ones first."""
    cls = CIFAR[name]
    images = np.random.default_rng(2).integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
    key = "labels" if name == "cifar10" else "fine_labels"
    files = [file for file, _ in [*cls.train_list, *cls.test_list]]
    bodies = {
        file: pickle.dumps({"data": images[4 * i : 4 * i + 4].reshape(4, -1), key: [i, 1, 2, 3]}, protocol=2)
        for i, file in enumerate(files)
    }
    names = [f"class {i}" for i in range(10 if name == "cifar10" else 100)]
    bodies[cls.meta["filename"]] = pickle.dumps({cls.meta["key"]: names}, protocol=2)
    monkeypatch.setattr(cls, "train_list", [[file, md5(bodies[file])] for file, _ in cls.train_list])
    monkeypatch.setattr(cls, "test_list", [[file, md5(bodies[file])] for file, _ in cls.test_list])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": md5(bodies[cls.meta["filename"]])})
    if packed:
        folder.mkdir()
        with tarfile.open(folder / cls.filename, "w:gz") as tar:
            for file, body in bodies.items():
                member = tarfile.TarInfo(f"{cls.base_folder}/{file}")
                member.size = len(body)
                tar.addfile(member, io.BytesIO(body))
        monkeypatch.setattr(cls, "tgz_md5", md5((folder / cls.filename).read_bytes()))
    else:
        (folder / cls.base_folder).mkdir(parents=True)
        for file, body in bodies.items():
            (folder / cls.base_folder / file).write_bytes(body)
    return images[: 4 * len(files)]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_read_plain_or_packed(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    images = torch.from_numpy(write_cifar(name, tmp_path / "data", monkeypatch, packed))
    before = content(tmp_path / "data")
    dataset = load_dataset(name, tmp_path / "data")
    assert dataset.train.images.equal(images[:-4])
    assert dataset.test.images.equal(images[-4:])
    assert dataset.train.labels.tolist() == [n for i in range(len(images) // 4 - 1) for n in (i, 1, 2, 3)]
    assert dataset.image_shape == (3, 32, 32)
    assert dataset.classes[-1] == f"class {dataset.num_classes - 1}"
    assert content(tmp_path / "data") == before
    assert bool(content(cache)) == packed


def test_an_altered_cifar_file_is_never_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar("cifar10", tmp_path / "data", monkeypatch, packed=False)
    place = tmp_path / "data/cifar-10-batches-py/data_batch_3"
    expected = md5(place.read_bytes())
    place.write_bytes(pickle.dumps(Path))
    with pytest.raises(DataError, match=rf"{place} is damaged.*{md5(place.read_bytes())}, expected {expected}"):
        load_dataset("cifar10", tmp_path / "data")


def test_an_altered_archive_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar("cifar10", tmp_path / "data", monkeypatch, packed=True)
    place = tmp_path / "data/cifar-10-python.tar.gz"
    place.write_bytes(place.read_bytes()[:-100])
    with pytest.raises(DataError, match=rf"{place} is damaged.*MD5"):
        load_dataset("cifar10", tmp_path / "data")


def test_an_archive_without_the_wanted_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = write_emnist_zip(tmp_path / "data/EMNIST/raw", monkeypatch)
    with zipfile.ZipFile(place, "w") as packed:
        packed.writestr("gzip/other.gz", b"")
    monkeypatch.setattr(datasets.EMNIST, "md5", md5(place.read_bytes()))
    with pytest.raises(DataError, match=r"gzip.zip does not hold gzip/emnist-letters-train-images-idx3-ubyte.gz"):
        load_dataset("emnist_letters", tmp_path / "data")


def write_svhn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    images = np.random.default_rng(3).integers(0, 256, (32, 32, 3, 10), dtype=np.uint8)
    parts = {}
    folder.mkdir(parents=True)
    for part, (url, file, _) in datasets.SVHN.split_list.items():
        savemat(folder / file, {"X": images, "y": np.arange(1, 11, dtype=np.uint8)[:, None]})
        parts[part] = [url, file, md5((folder / file).read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    return images


def test_svhn_is_read_with_its_zero_as_class_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_svhn(tmp_path / "data", monkeypatch)
    dataset = load_dataset("svhn", tmp_path / "data")
    assert dataset.test.images[4].equal(torch.from_numpy(images[:, :, :, 4].transpose(2, 0, 1).copy()))
    assert dataset.train.images.is_contiguous()
    assert dataset.train.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert dataset.classes == tuple("0123456789")


def test_archives_and_plain_files_are_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, base_url: str
) -> None:
    images = write_cifar("cifar10", tmp_path / "cifar", monkeypatch, packed=True)
    monkeypatch.setattr(datasets.CIFAR10, "url", f"{base_url}cifar/{datasets.CIFAR10.filename}")
    assert load_dataset("cifar10").train.images.equal(torch.from_numpy(images[:-4]))
    write_svhn(tmp_path / "svhn", monkeypatch)
    parts = {p: [f"{base_url}svhn/{f}", f, m] for p, (_, f, m) in datasets.SVHN.split_list.items()}
    monkeypatch.setattr(datasets.SVHN, "split_list", parts)
    assert len(load_dataset("svhn").train) == 10
    write_emnist_zip(tmp_path / "emnist", monkeypatch)
    monkeypatch.setattr(datasets.EMNIST, "url", f"{base_url}emnist/gzip.zip")
    assert len(load_dataset("emnist_letters").train) == 20
    assert len(content(cache)) == 7 + 2 + 4
