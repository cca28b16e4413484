from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nas.app import export as room
from nas.app import quantize as quantizing
from nas.app.look import find_trial
from nas.data.images import Dataset, ImageSet
from nas.data.known import OWN_IMAGES_POLICY
from nas.data.load import load_dataset
from nas.errors import DataError, NasError, UsageError
from nas.export.int8_weights import load_int8_weights
from nas.int8.quantize import quantize
from nas.model.trained_network import read_trained_network
from nas.study.folder import StudyFolder
from nas.study.networks import kept_file

if TYPE_CHECKING:
    from conftest import Study


@pytest.fixture
def folder(study_copy: Study) -> StudyFolder:
    return StudyFolder(study_copy.path.parent, "small")


@pytest.fixture
def data() -> Dataset:
    return load_dataset("digits")


def sorted_by_class(count: int) -> ImageSet:
    """Images as a folder gives them: class by class, each image as bright as its class is high."""
    labels = torch.arange(10).repeat_interleave(count)
    return ImageSet((labels * 20).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 8, 8).contiguous(), labels)


def test_the_calibration_has_a_share_of_each_class(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple("abcdefghij")
    images = Dataset("pets", sorted_by_class(300), sorted_by_class(10), names, OWN_IMAGES_POLICY, "0" * 16)
    seen: list[torch.Tensor] = []

    def watch(network: Any, calibration: torch.Tensor) -> Any:
        seen.append(calibration)
        return quantize(network, calibration)

    monkeypatch.setattr(room, "study_dataset", lambda *_: images)
    monkeypatch.setattr(quantizing, "quantize", watch)
    room.export(folder, find_trial(folder, None), folder.path / "net.int8.h", None)
    counts = seen[0][:, 0, 0, 0].unique(return_counts=True)
    assert counts[0].tolist() == [20 * label for label in range(10)]
    assert set(counts[1].tolist()) <= {51, 52}
    assert len(seen[0]) == 512


def test_a_network_is_quantized_once(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = find_trial(folder, None)
    steps: list[str] = []
    claims = room.export(folder, record, tmp_path / "first.int8.h", None, report=steps.append)
    assert any(step.startswith("measuring the accuracy: 0 of ") for step in steps)
    assert claims["weights_test_accuracy"] == pytest.approx(claims["float_weights_test_accuracy"], abs=5)
    assert claims["float_weights_test_accuracy"] == pytest.approx(record.confirmations[0].test_accuracy[-1], abs=0.3)

    def refuse(*_: Any) -> Any:
        raise DataError("there are none")

    monkeypatch.setattr(room, "study_dataset", refuse)
    again = room.export(folder, record, tmp_path / "first.int8.pt", None)
    assert {k: v for k, v in again.items() if k != "input"} == {k: v for k, v in claims.items() if k != "input"}
    assert {"made_from", "example"}.isdisjoint(load_int8_weights(tmp_path / "first.int8.pt").claims)
    # Of other weights, or damaged, it does not stand for the network any more.
    source = kept_file(folder, record)
    kept = source.with_suffix(".int8.pt")
    good = kept.read_bytes()
    kept.write_bytes(good[:-100])
    with pytest.raises(DataError, match="there are none"):
        room.export(folder, record, tmp_path / "second.int8.h", None)
    plain = torch.load(io.BytesIO(good), weights_only=True)
    torch.save(plain | {"scales": {}}, kept)  # as earlier versions kept it
    with pytest.raises(DataError, match="there are none"):
        room.export(folder, record, tmp_path / "second.int8.onnx", None)
    kept.write_bytes(good)
    source.write_bytes(with_another_mean(source))
    with pytest.raises(DataError, match="there are none"):
        room.export(folder, record, tmp_path / "second.int8.h", None)


def with_another_mean(file: Path) -> bytes:
    network = read_trained_network(file)
    return replace(network, mean=(0.25,)).to_bytes()


def test_firmware_checks_itself_on_a_test_image(folder: StudyFolder, tmp_path: Path, data: Dataset) -> None:
    record = find_trial(folder, None)
    room.export(folder, record, tmp_path / "new", None)
    room.export(folder, record, tmp_path / "kept", None)
    text = (tmp_path / "new" / "image.h").read_text()
    assert text == (tmp_path / "kept" / "image.h").read_text()
    said = re.match(r"/\* Test image of digits, number (\d+): '(\d)'\. \*/", text)
    assert said is not None
    index = int(said[1])
    assert data.test.labels[index] == int(said[2])
    pixels = re.search(r"image\[64\] = \{(.*?)\}", text, re.DOTALL)
    assert pixels is not None
    assert [int(n) for n in pixels[1].split(",")] == data.test.images[index].flatten().tolist()
    network = load_int8_weights(kept_file(folder, record).with_suffix(".int8.pt"))
    right = network.logits(data.test.images).argmax(1) == data.test.labels
    assert int(right.nonzero()[0]) == index


def test_a_study_that_may_only_be_read_is_exported(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(room, "write_int8_weights", refuse)
    output = folder.path.parent.parent / "net.int8.h"
    assert room.export(folder, find_trial(folder, None), output, None)["num_bytes"] > 0
    assert output.is_file()
    assert not list(folder.run.glob("networks/*.int8.pt"))


def test_weights_of_another_network_are_refused_in_words(folder: StudyFolder) -> None:
    best = find_trial(folder, None)
    others = [p for p in folder.run.glob("networks/*.safetensors") if p != kept_file(folder, best)]
    network, other = read_trained_network(kept_file(folder, best)), read_trained_network(others[0])
    kept_file(folder, best).write_bytes(replace(network, weights=dict(list(other.weights.items())[:1])).to_bytes())
    with pytest.raises(NasError, match="the weights do not fit the architecture"):
        room.load_network(folder, best, None)


def test_a_prefix_is_for_headers(folder: StudyFolder, tmp_path: Path) -> None:
    record = find_trial(folder, None)
    room.export(folder, record, tmp_path / "net.h", None, "digits")
    assert "digits_predict(" in (tmp_path / "net.h").read_text()
    with pytest.raises(UsageError, match=r"`prefix` digits is for C headers, and .*net\.onnx is none; leave it out"):
        room.export(folder, record, tmp_path / "net.onnx", None, "digits")
    assert not (tmp_path / "net.onnx").exists()
