"""What a wheel holds: it works outside the checkout, with all that lies beside the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_a_wheel_searches_outside_the_checkout(tmp_path: Path) -> None:
    site, outside = tmp_path / "site", tmp_path / "outside"
    outside.mkdir()
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([*install, str(site), str(ROOT)], check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=outside, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert Path(run("-c", "import nas; print(nas.__file__)").strip()).is_relative_to(site)
    search = ("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", "2000", "--name", "one")
    run("-m", "nas", *search, "--trials", "1", "--epochs", "1", "--seeds", "1", "--workers", "1")
    run("-m", "nas", "report", "one")
    run("-m", "nas", "export", "one", "-o", "net.py")
    run("-m", "nas", "verify", "net.py")
    kept = {file.parent.name for file in (ROOT / "studies").glob("*/study.json")}
    assert kept == {file.parent.name for file in (site / "nas" / "studies").glob("*/study.json")}
    listed = run("-m", "nas", "list", "--studies", str(site / "nas" / "studies"))
    assert all(name in listed for name in kept)
