"""The data sets that torchvision knows: found on this machine, checked, unpacked into the cache, or downloaded.

torchvision says which files there are, with which checksums, and downloads them. They are read here, since its own
classes want all files unpacked in one folder and meet junk with a bare assertion.

Shape legend: N images, C channels, H and W pixels.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import pickle
import socket
import string
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision import datasets
from torchvision.datasets.utils import calculate_md5, download_url

from nas.data.images import ImageSet, LoadedImages
from nas.errors import DataError
from nas.host import cache_folder, written_whole

DOWNLOAD_TIMEOUT_SECONDS = 15.0  # without any answer; urllib by itself would wait for ever


@dataclass(frozen=True)
class _File:
    path: str  # of the unpacked file, below the data folder
    md5: str | None = None  # of the unpacked file
    gz_md5: str | None = None  # of path + '.gz'
    urls: tuple[str, ...] = ()  # of the file or its .gz, the first that answers serves


@dataclass(frozen=True)
class _Archive:
    path: str  # of the .tar.gz or .zip, below the data folder
    md5: str
    url: str
    member: Callable[[_File], str]  # the name inside; a member that ends in .gz is unpacked once more


@dataclass(frozen=True)
class _Source:
    files: tuple[_File, ...]
    read: Callable[[list[Path]], LoadedImages]  # from the paths of `files`, in their order
    archive: _Archive | None = None


def load(name: str, data_dir: Path | None = None) -> LoadedImages:
    """Return the set called `name`, from `data_dir`, else $NAS_DATA_DIR, else the cache folder.

    Raises:
        DataError: a file is damaged, or is missing and cannot be downloaded, or nothing can be written.
    """
    source = SOURCES[name]()
    chosen = data_dir or os.environ.get("NAS_DATA_DIR") or None
    folders = [cache_folder()] if chosen is None else [Path(os.path.expanduser(chosen)), cache_folder()]
    if folders[0].exists() and not folders[0].is_dir():
        raise DataError(f"the data folder {folders[0]} is not a folder; name one with `data_dir` or $NAS_DATA_DIR")
    found = {file: place for file in source.files if (place := _locate(file, folders)) is not None}
    if len(found) < len(source.files) and source.archive is not None:
        missing = [file for file in source.files if file not in found]
        found |= _unpack_found_archive(source.archive, missing, folders)
    if len(found) < len(source.files):
        missing = [file for file in source.files if file not in found]
        found |= _download(name, source, missing, folders)
    for file, place in found.items():
        if file.md5 is not None:
            _check_md5(place, file.md5)
    return source.read([found[file] for file in source.files])


def _mnist_like(cls: type[datasets.MNIST], classes: tuple[str, ...] | None = None) -> _Source:
    names = classes or tuple(cls.classes)
    files = tuple(
        _File(
            f"{cls.__name__}/raw/{file.removesuffix('.gz')}",
            gz_md5=md5,
            urls=tuple(mirror + file for mirror in cls.mirrors),
        )
        for file, md5 in cls.resources
    )
    return _Source(files, lambda places: LoadedImages(*_read_idx_parts(places, 0, len(names)), names))


def _emnist_letters() -> _Source:
    kinds = ("train-images-idx3", "train-labels-idx1", "test-images-idx3", "test-labels-idx1")
    files = tuple(_File(f"EMNIST/raw/emnist-letters-{kind}-ubyte") for kind in kinds)
    archive = _Archive(
        "EMNIST/raw/gzip.zip",
        datasets.EMNIST.md5,
        datasets.EMNIST.url,
        lambda file: f"gzip/{file.path.rpartition('/')[2]}.gz",
    )
    return _Source(files, _read_emnist_letters, archive)


def _cifar(cls: type[datasets.CIFAR10]) -> _Source:
    listed = [*cls.train_list, *cls.test_list, (cls.meta["filename"], cls.meta["md5"])]
    files = tuple(_File(f"{cls.base_folder}/{file}", md5=md5) for file, md5 in listed)
    archive = _Archive(cls.filename, cls.tgz_md5, cls.url, lambda file: file.path)
    return _Source(files, lambda places: _read_cifar(places, len(cls.train_list), cls.meta["key"]), archive)


def _svhn() -> _Source:
    listed = [datasets.SVHN.split_list[part] for part in ("train", "test")]
    return _Source(tuple(_File(file, md5=md5, urls=(url,)) for url, file, md5 in listed), _read_svhn)


# What torchvision says of each set; asked anew each time, since the attributes of its classes can be set by users.
SOURCES: dict[str, Callable[[], _Source]] = {
    "mnist": lambda: _mnist_like(datasets.MNIST, tuple(string.digits)),  # torchvision has '0 - zero'
    "fashion_mnist": lambda: _mnist_like(datasets.FashionMNIST),
    "kmnist": lambda: _mnist_like(datasets.KMNIST),
    "emnist_letters": _emnist_letters,
    "cifar10": lambda: _cifar(datasets.CIFAR10),
    "cifar100": lambda: _cifar(datasets.CIFAR100),
    "svhn": _svhn,
}


# Finding and unpacking


def _locate(file: _File, folders: list[Path]) -> Path | None:
    """Return the path of the unpacked file; a `.gz` is unpacked into the cache, the last of `folders`."""
    for folder in folders:
        plain, packed = folder / file.path, folder / f"{file.path}.gz"
        if plain.is_file():
            return plain
        if packed.is_file():
            if file.gz_md5 is not None:
                _check_md5(packed, file.gz_md5)
            return _unpack_gz(packed, folders[-1] / file.path)
    return None


def _unpack_gz(packed: Path, plain: Path) -> Path:
    """Unpack `packed` to `plain`, unless it exists with the checksum at the end of `packed`; return `plain`."""
    with _reading(packed):
        data = packed.read_bytes()
        if not (plain.is_file() and zlib.crc32(plain.read_bytes()) == struct.unpack("<I", data[-8:-4])[0]):
            _write(plain, gzip.decompress(data))
    return plain


def _unpack_found_archive(archive: _Archive, files: list[_File], folders: list[Path]) -> dict[_File, Path]:
    for folder in folders:
        place = folder / archive.path
        if place.is_file():
            _check_md5(place, archive.md5)
            return _unpack_archive(place, archive, files, folders[-1])
    return {}


def _unpack_archive(place: Path, archive: _Archive, files: list[_File], target: Path) -> dict[_File, Path]:
    wanted = {archive.member(file): file for file in files}
    unpacked = {}
    with _reading(place):
        for member, data in _members(place, set(wanted)):
            file = wanted[member]
            unpacked[file] = target / file.path
            _write(unpacked[file], gzip.decompress(data) if member.endswith(".gz") else data)
    if len(unpacked) < len(files):
        lacking = ", ".join(member for member, file in wanted.items() if file not in unpacked)
        raise DataError(f"{place} does not hold {lacking}; replace it with the file from {archive.url}")
    return unpacked


def _members(place: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of the `wanted` members, in the archive's order: to go back would unpack it again."""
    if place.suffix == ".zip":
        with zipfile.ZipFile(place) as packed:
            yield from ((name, packed.read(name)) for name in packed.namelist() if name in wanted)
    else:
        with tarfile.open(place) as tar:
            for member in tar:
                content = tar.extractfile(member) if member.name in wanted else None
                if content is not None:
                    yield member.name, content.read()


def _write(path: Path, data: bytes) -> None:
    """Write all or nothing: another process that loads the same data never sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as file:
            file.write_bytes(data)
    except OSError as error:
        raise _unwritable(path.parent, error) from None


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write data to {folder}: {error.strerror or error}; make it writable or free space, or set "
        "XDG_CACHE_HOME to a folder that can hold the data"
    )


@contextlib.contextmanager
def _reading(place: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error, struct.error, tarfile.TarError, zipfile.BadZipFile) as error:
        raise _damaged(place, str(error) or type(error).__name__) from None
    except OSError as error:
        raise DataError(f"cannot read {place}: {error.strerror or error}") from None


def _damaged(place: Path, problem: str) -> DataError:
    return DataError(f"{place} is damaged: {problem}; remove it and run again, or put the right file there")


def _check_md5(place: Path, expected: str) -> None:
    with _reading(place):
        actual = calculate_md5(place)
    if actual != expected:
        size = place.stat().st_size
        raise _damaged(place, f"its {size:,} bytes have the MD5 checksum {actual}, expected {expected}")


# Downloading


def _download(name: str, source: _Source, missing: list[_File], folders: list[Path]) -> dict[_File, Path]:
    """Download the `missing` files into the first of `folders` that can be written; return their paths."""
    target, fetched = _download_folder(folders)
    with fetched:
        print(f"downloading {name} into {target}", file=sys.stderr)
        here = Path(fetched.name)
        try:
            with _no_endless_wait(), contextlib.redirect_stdout(sys.stderr):
                if source.archive is not None:
                    place = _fetch((source.archive.url,), here, source.archive.md5)
                else:
                    places = [_fetch(file.urls, here, file.gz_md5 or file.md5) for file in missing]
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            names = [f"{file.path}.gz" if file.gz_md5 else file.path for file in missing]
            wanted = [source.archive.path] if source.archive else names
            raise DataError(
                f"cannot download {name} ({str(error) or type(error).__name__}); put {', '.join(wanted)} into "
                f"{folders[0]}, or take the data set that needs no download: `dataset` digits"
            ) from None
        if source.archive is not None:
            return _unpack_archive(place, source.archive, missing, target)
        for file, place in zip(missing, places, strict=True):
            if file.gz_md5 is not None:
                _unpack_gz(place, target / file.path)
            else:
                _write(target / file.path, place.read_bytes())
    return {file: target / file.path for file in missing}


def _download_folder(folders: list[Path]) -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    """Return a folder to keep files in, and one inside it for this download, so that none is left half done."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return folder, tempfile.TemporaryDirectory(prefix=".download-", dir=folder)
        except OSError as error:
            problem = _unwritable(folder, error)
    raise problem


def _fetch(urls: tuple[str, ...], folder: Path, md5: str | None) -> Path:
    for url in urls:
        try:
            place = folder / url.rpartition("/")[2]
            download_url(url, folder, place.name, md5)
            return place
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            problem = error
    raise problem


@contextlib.contextmanager
def _no_endless_wait() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


# Reading


def _read_idx(place: Path, rank: int) -> torch.Tensor:
    """Return the bytes of an IDX file of `rank` dimensions: uint8 (N, 28, 28) for 3, (N,) for 1."""
    with _reading(place):
        raw = np.fromfile(place, dtype=np.uint8)
    kind = "images" if rank == 3 else "labels"
    start, magic = 4 + 4 * rank, bytes((0, 0, 8, rank))
    if raw[:4].tobytes() != magic or len(raw) < start:
        starts = raw[:4].tobytes().hex() or "nothing"
        raise _damaged(place, f"expected an IDX file of {kind}, which starts with {magic.hex()}, not {starts}")
    shape = struct.unpack(f">{rank}I", raw[4:start].tobytes())
    if shape[0] == 0 or (rank == 3 and shape[1:] != (28, 28)):
        expected = "one or more, of 28x28 pixels" if rank == 3 else "one or more"
        raise _damaged(place, f"its header says {' x '.join(map(str, shape))} {kind}, expected {expected}")
    size = start + int(np.prod(shape, dtype=object))
    if len(raw) != size:
        raise _damaged(place, f"it has {len(raw):,} bytes, expected {size:,} for the {shape[0]:,} {kind} of its header")
    return torch.from_numpy(raw[start:]).view(*shape)


def _read_idx_parts(places: list[Path], first_label: int, num_classes: int) -> tuple[ImageSet, ImageSet]:
    """Return both parts from files of training images and labels, test images and labels; labels start at 0."""
    parts = []
    for image_place, label_place in (places[:2], places[2:]):
        images, labels = _read_idx(image_place, 3), _read_idx(label_place, 1).long()
        if len(images) != len(labels):
            raise _damaged(label_place, f"it has {len(labels):,} labels, expected {len(images):,} as {image_place} has")
        parts.append(ImageSet(images.unsqueeze(1), _labels_from_0(labels, first_label, num_classes, label_place)))
    return parts[0], parts[1]


def _labels_from_0(labels: torch.Tensor, first: int, num_classes: int, place: Path) -> torch.Tensor:
    low, high, last = int(labels.min()), int(labels.max()), first + num_classes - 1
    if low < first or high > last:
        raise _damaged(place, f"its labels go from {low} to {high}, expected {first} to {last}")
    return labels - first


def _read_emnist_letters(places: list[Path]) -> LoadedImages:
    """Return upright images; the files have them transposed."""
    parts = _read_idx_parts(places, 1, 26)
    train, test = (ImageSet(part.images.transpose(2, 3).contiguous(), part.labels) for part in parts)
    return LoadedImages(train, test, tuple(string.ascii_lowercase))


def _read_cifar(places: list[Path], num_train_files: int, key: str) -> LoadedImages:
    """Return the images of pickles, the last of which names the classes.

    A pickle can execute code: read none before its checksum was found right.
    """
    batches = [pickle.loads(place.read_bytes(), encoding="latin1") for place in places]
    classes = tuple(batches.pop()[key])

    def join(part: list[dict[str, np.ndarray]]) -> ImageSet:
        images = np.concatenate([batch["data"] for batch in part]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([batch["labels"] if "labels" in batch else batch["fine_labels"] for batch in part])
        return ImageSet(torch.from_numpy(images), torch.from_numpy(labels).long())

    return LoadedImages(join(batches[:num_train_files]), join(batches[num_train_files:]), classes)


def _read_svhn(places: list[Path]) -> LoadedImages:
    from scipy.io import loadmat  # here, since it takes half a second to import

    parts = []
    for place in places:
        content = loadmat(place)
        images = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1))
        labels = torch.from_numpy(content["y"].astype(np.int64).reshape(-1))
        parts.append(ImageSet(torch.from_numpy(images), labels % 10))  # its label of the digit 0 is 10
    return LoadedImages(parts[0], parts[1], tuple(string.digits))
