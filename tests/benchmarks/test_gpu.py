from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=1800
    )


def test_every_section_runs_and_is_written(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--quick", "--json", "--output", tmp_path / "gpu.json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "gpu.json").read_text())
    assert document["cpu_and_device_agree"]["agree"]
    assert document["graphs_equal_eager_steps"]["equal"]
    assert document["graphs_equal_eager_steps"]["packed_after_100_steps"] == 0.0
    assert len(document["one_training"]["seconds"]) == 3
    assert [row["trainings"] for row in document["packed"]["rows"]] == [1, 2]
    assert {"serial_seconds", "packed_seconds", "batched_seconds"} <= document["three_seeds"].keys()
    assert document["against_the_textbook"]["ratio"] > 0
    assert not [name for name, section in document.items() if isinstance(section, dict) and "error" in section]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_that_it_needs_one() -> None:
    done = run()
    assert done.returncode == 1
    assert "this benchmark needs a CUDA device: `device` cuda: this machine has 0 CUDA devices" in done.stderr
    assert "Traceback" not in done.stderr
