"""A study that version 0.1 made opens, resumes, exports and verifies."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from nas.app.look import read_records
from nas.study.folder import StudyFolder

if TYPE_CHECKING:
    from conftest import Nas

# Six trials on digits, two of them confirmed, the network that it exported, and what `nas status --json` said.
ARCHIVE = Path(__file__).parents[1] / "old_studies" / "digits_0.1.tar.gz"


@pytest.fixture
def old(nas: Nas) -> StudyFolder:
    with tarfile.open(ARCHIVE) as archive:
        # Python before 3.11.4 has no filters.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, path: member)
        archive.extractall(nas.cwd)
    return StudyFolder(nas.cwd / "studies", "old")


def test_it_is_looked_at_as_it_is(nas: Nas, old: StudyFolder) -> None:
    before, now = json.loads((nas.cwd / "status.json").read_text()), nas("status", "old", "--json").json
    figures, choice = before.pop("answer").split(": ")
    assert choice == "trial 5 is the most accurate confirmed network within 600."
    assert now.pop("answer") == f"{figures}: trial 5 is the most accurate in validation within 600."
    for row in now["front"]:
        row.pop("weights_test_accuracy", None)  # which version 0.1 did not say
        assert [row.pop(name) for name in ("deployed_params", "flash_bytes", "ram_bytes")] == [None] * 3
    assert now == before
    assert nas("report", "old").rc == 0
    assert not (old.run / "networks").exists()


def test_its_network_is_exported_with_the_same_weights_and_verifies(nas: Nas, old: StudyFolder) -> None:
    assert nas("verify", "old_net.py").rc == 0
    assert nas("export", "old", "-o", "new_net.py").rc == 0
    before, now = (torch.load(nas.cwd / f"{name}_net.pt", weights_only=True) for name in ("old", "new"))
    assert before.keys() == now.keys()
    assert all(torch.equal(before[name], now[name]) for name in before)
    assert nas("verify", "new_net.py").rc == 0


def test_it_resumes_and_keeps_what_it_had(nas: Nas, old: StudyFolder) -> None:
    records = read_records(old)
    resumed = nas("search", "--name", "old", "--trials", 8, "--workers", 1)
    assert resumed.rc == 0, resumed.err
    now = read_records(old)
    assert [(r.digest, r.validation_curve) for r in now[:6]] == [(r.digest, r.validation_curve) for r in records]
    assert now[4].confirmations[:2] == records[4].confirmations
    assert len(now) == 8
    replayed = nas("replay", "old")
    assert replayed.rc == 1, replayed.out  # the present version draws others, and says so
    assert "the search ran on nas 0.1.0" in replayed.out
    document = json.loads(old.settings_file.read_text())
    assert document["images"]["shape"] == {"channels": 1, "height": 8, "width": 8}
