"""Where a network errs: counted once more by the exported module, kept, and shown."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

import nas as library
from nas.data.load import load_dataset

if TYPE_CHECKING:
    from conftest import Study


def _of(study: Study) -> library.Study:
    return library.open_study("small", studies=study.path.parent)


def test_the_search_keeps_what_the_exported_module_errs_in(digits_study: Study) -> None:
    (kept,) = (digits_study.path / "run/networks").glob("*.mistakes.json")
    nas, test = digits_study.nas, load_dataset("digits").test
    exported = nas("export", "small", "-o", "errs.py")
    assert exported.rc == 0, exported.err
    spec = importlib.util.spec_from_file_location("errs", nas.cwd / "errs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (module.MEAN, module.STD))
        probabilities = module.load_trained()((test.images / 255 - mean) / std).softmax(1)
    predicted = probabilities.argmax(1)
    study = _of(digits_study)
    counted = np.zeros((10, 10), int)
    np.add.at(counted, (test.labels.numpy(), predicted.numpy()), 1)
    assert np.array_equal(study.confusion(), counted)
    wrong = predicted != test.labels
    errors = study.errors()
    assert len(errors) == min(12, int(wrong.sum()))
    assert errors["probability"].is_monotonic_decreasing
    assert errors["probability"].iloc[0] == pytest.approx(float(probabilities.max(1).values[wrong].max()), abs=1e-4)
    for image, label, taken_for in errors[["image", "class", "taken_for"]].itertuples(index=False):
        assert (int(label), int(taken_for)) == (int(test.labels[image]), int(predicted[image]))
    accuracy = 100 * np.trace(counted) / counted.sum()
    found = json.loads(kept.read_text())
    assert found["part"] == "test"
    for label, pictures in enumerate(found["examples"]):
        first = test.images[test.labels == label][: len(pictures)]
        shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(picture)))) for picture in pictures]
        assert np.array_equal(np.stack(shown), first[:, 0].numpy())
    assert len(found["examples"]) == 10
    assert accuracy == pytest.approx(100 * float((predicted == test.labels).float().mean()))


def test_a_report_shows_them_and_derives_them_again(study_copy: Study) -> None:
    nas, page = study_copy.nas, study_copy.path / "report.html"
    (kept,) = (study_copy.path / "run/networks").glob("*.mistakes.json")
    before = kept.read_text()
    assert nas("report", "small").rc == 0
    assert "Its most confident errors" in page.read_text()
    damaged = before.replace('"made_from":"', '"made_from":"0')
    for content in (damaged, "[" * 100_000, '{"part": 3}'):
        kept.write_text(content)
        assert nas("report", "small").rc == 0
        assert "Its most confident errors" not in page.read_text()
        assert "--mistakes" in page.read_text()
    assert nas("report", "small", "--mistakes").rc == 0
    assert "Its most confident errors" in page.read_text()
    in_8_bits = json.loads(kept.read_text())["accuracy_in_8_bits"]
    assert {**json.loads(before), "accuracy_in_8_bits": in_8_bits} == json.loads(kept.read_text())
    assert f" % are right after its last epoch, and {in_8_bits:.2f} % in 8 bits." in page.read_text()
    assert nas("export", "small", "-o", "net.int8.pt", "--json").json["weights_test_accuracy"] == in_8_bits
    kept.unlink()
    assert nas("report", "small").rc == 0
    assert "--mistakes" in page.read_text()


def test_a_trial_that_is_not_confirmed_is_judged_on_the_validation_part(study_copy: Study) -> None:
    study = _of(study_copy)
    unconfirmed = study.trials[(study.trials["fate"] == "completed") & study.trials["test_accuracy"].isna()]
    trial = int(unconfirmed.iloc[0]["trial"])
    confusion = study.confusion(trial).to_numpy()
    assert confusion.sum() == study.folder.document().images.num_validation  # type: ignore[union-attr]
    # The network that is kept is that of the last epoch.
    assert 100 * np.trace(confusion) / confusion.sum() == pytest.approx(study.curves(trial)["accuracy"].iloc[-1])
