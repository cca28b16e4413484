"""The images of processes that train together: in shared memory, or in a file where that is too small."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch

from nas.data.load import load_dataset
from nas.data.split import Parts, parts_of
from nas.errors import MachineError
from nas.host import SharedMemory
from nas.workers import shared_images
from nas.workers.shared_images import LEAST_LEFT, ImagesInFile, share

SETS = ("train", "validation", "whole_train", "test")


@pytest.fixture
def parts() -> Parts:
    return parts_of(load_dataset("digits"), 0)


def bytes_of(parts: Parts) -> int:
    return sum(getattr(parts, name).images.nbytes + getattr(parts, name).labels.nbytes for name in SETS)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux limits shared memory so")
def test_images_that_do_not_fit_go_into_a_file(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    free = bytes_of(parts) + LEAST_LEFT - 1
    monkeypatch.setattr(shared_images, "shared_memory", lambda: SharedMemory(free, free))
    said: list[str] = []
    shared = share(parts, said.append)
    assert isinstance(shared, ImagesInFile)
    assert len(said) == 1
    assert "shared memory has 16 MiB free" in said[0]
    assert len(pickle.dumps(shared)) < 10_000  # what each process is sent
    opened = pickle.loads(pickle.dumps(shared)).open()
    for name in SETS:
        ours, theirs = getattr(parts, name), getattr(opened, name)
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
        assert (theirs.images.dtype, theirs.labels.dtype) == (torch.uint8, torch.int64)
    assert (opened.policy, opened.class_names) == (parts.policy, parts.class_names)
    shared.close()
    assert torch.equal(parts.test.images, opened.test.images)  # who has opened it keeps it
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(shared.descriptor)


@pytest.mark.parametrize("memory", [None, SharedMemory(1 << 40, 1 << 40)])
def test_images_that_fit_are_shared(memory: SharedMemory | None, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_images, "shared_memory", lambda: memory)
    said: list[str] = []
    assert share(parts, said.append) is parts
    assert all(getattr(parts, name).images.is_shared() for name in SETS)
    assert said == []


def test_no_room_anywhere_is_said(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shared_images, "shared_memory", lambda: SharedMemory(0, 0))
    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(MachineError, match=r"neither /dev/shm nor .* has room for 1 MiB .*No space left.*`workers`"):
        share(parts, lambda _: None)
