"""What a shell offers when a person presses Tab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nas.strategy.fitted_sampler import BY_NAME, OWN

if TYPE_CHECKING:
    from conftest import Nas, Study


def offered(nas: Nas, line: str) -> list[str]:
    """As bash asks for it, at the end of `line`."""
    words = line.split(" ")
    shown = nas(env={"_NAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)})
    assert shown.err == ""
    return shown.out.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("nas sta", ["status"]),
        ("nas search --dataset cifar", ["cifar10", "cifar100"]),
        ("nas search --space tiny", ["tiny_digits"]),
        ("nas search --sampler ", sorted([OWN, *BY_NAME])),
        ("nas space sample sep", ["separable"]),
        ("nas space show separable --dataset dig", ["digits"]),
        ("nas arch train x.toml --dataset kmn", ["kmnist"]),
        ("nas status nosuch", []),
    ],
)
def test_names_are_completed(line: str, names: list[str], nas: Nas) -> None:
    assert offered(nas, line) == names


def test_studies_are_completed(digits_study: Study) -> None:
    for command in ("status", "report", "dashboard", "confirm", "export", "search --name"):
        assert offered(digits_study.nas, f"nas {command} sm") == ["small"], command
    folder = digits_study.nas.cwd / "studies"
    assert offered(digits_study.nas, "nas status --studies elsewhere sm") == []
    assert offered(digits_study.nas, f"nas status --studies {folder} sm") == ["small"]


def test_what_is_ones_own_is_completed(nas: Nas) -> None:
    (nas.cwd / "pit.py").touch()
    assert offered(nas, "nas export pi") == ["pit.py"]
    (nas.cwd / "pictures").mkdir()
    (nas.cwd / "pixels.npz").touch()
    (nas.cwd / "pi[1].toml").touch()
    assert offered(nas, "nas search --dataset pi") == ["pictures/", "pixels.npz"]
    assert offered(nas, "nas search --space ./pi") == ["./pi[1].toml"]
    assert offered(nas, f"nas space show {nas.cwd}/pi[") == [f"{nas.cwd}/pi[1].toml"]
