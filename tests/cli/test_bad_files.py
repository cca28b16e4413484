"""Files that cannot be read or do not make sense: every problem in them is named, nothing is trained."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

if TYPE_CHECKING:
    from conftest import Finished, Nas


def assert_refused(ended: Finished, rc: int, *texts: str) -> None:
    assert ended.rc == rc, ended.err
    assert ended.out == ""
    for text in texts:
        assert re.search(text, ended.err), ended.err


# Descriptions


def test_a_space_that_is_not_toml_is_refused_with_its_line(nas: Nas) -> None:
    (nas.cwd / "bad.toml").write_text('name = "bad"\n[stages\ncount = 2\n')
    assert_refused(nas("space", "show", "bad.toml"), 1, r"bad\.toml is not valid TOML: .*line 2")


def test_every_problem_of_a_space_is_shown(nas: Nas) -> None:
    (nas.cwd / "bad.toml").write_text(
        "[stages]\ncount = { low = 3, high = 1 }\n"
        '[block]\nkind = ["plan"]\nwidht = 8\nwidth = true\n'
        "[hed]\nbias = true\n"
    )
    ended = nas("space", "sample", "bad.toml")
    assert_refused(
        ended,
        1,
        r"bad\.toml has 5 problems",
        r"stages\.count.*3.*1",
        r"block\.kind.*'plan' is not known; did you mean 'plain'\?",
        r"block\.widht: unknown key; did you mean 'block.width'",
        r"block\.width.*True",
        r"hed: unknown key; did you mean 'head'",
    )


def test_a_space_that_is_not_there(nas: Nas) -> None:
    assert_refused(nas("space", "show", "my.toml"), 1, r"cannot read my\.toml: No such file or directory; check the p")


def test_every_problem_of_a_study_file_is_shown(nas: Nas) -> None:
    (nas.cwd / "my.toml").write_text('max_params = "8000"\ntarget = 120\ntrails = 5\nseeds = 0\n')
    assert_refused(
        nas("search", "--study", "my.toml"),
        1,
        r"my\.toml has 4 problems",
        "max_params: '8000' is not a whole number",
        r"target: 120\.0 exceeds 100\.0, the most",
        r"trails: unknown key; did you mean .*'max_trials'\?",
        "num_seeds: 0 is below 1, the least",
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"max_params = \n", r"my\.toml is not valid TOML: .*line 1"),
        (None, r"cannot read my\.toml: No such file"),
    ],
)
def test_a_study_file_that_cannot_be_read(content: bytes | None, text: str, nas: Nas) -> None:
    if content is not None:
        (nas.cwd / "my.toml").write_bytes(content)
    assert_refused(nas("search", "--study", "my.toml"), 1, text)


def test_every_problem_of_an_architecture_is_shown(nas: Nas) -> None:
    (nas.cwd / "net.toml").write_text(
        'name = "net"\ninput = [1, 8]\nclasses = 1\n'
        'body = [{ type = "block", width = 0 }, { type = "blok", width = 4 }, { type = "pool", kind = "mx" }]\n'
        "[recipe]\nepochs = 0\n"
    )
    problems = (
        r"net\.toml has 6 problems",
        r"input: 2 items where 3 belong",
        r"classes: 1 is below 2, the least",
        r"body\[0\]\.width: 0 is below 1, the least",
        r"body\[1\]\.type: 'blok' is not known; did you mean 'block'\?",
        r"body\[2\]\.kind: 'mx' is not known",
        r"recipe\.epochs: 0 is below 1, the least",
    )
    assert_refused(nas("arch", "show", "net.toml"), 1, *problems)
    assert_refused(nas("arch", "train", "net.toml"), 1, *problems)


def test_an_architecture_whose_maps_vanish_is_refused(nas: Nas) -> None:
    pools = '{ type = "pool", kind = "max" },' * 4
    (nas.cwd / "net.toml").write_text(f'name = "net"\ninput = [1, 8, 8]\nclasses = 10\nbody = [{pools}]\n')
    assert_refused(nas("arch", "show", "net.toml", "--json"), 1, r"net\.toml: body\[3\]")


# Data


@pytest.fixture
def images(nas: Nas) -> Path:
    """A folder of eight gray images in two classes."""
    for label in ("cat", "dog"):
        (nas.cwd / "images" / label).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8), 60 * number).save(nas.cwd / "images" / label / f"{number}.png")
    return nas.cwd / "images"


def truncate(images: Path) -> None:
    damaged = images / "dog" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:50])


def add_folder(images: Path) -> None:
    (images / "dog" / "puppies").mkdir()


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (truncate, r"images/dog/2\.png cannot be read as an image \(.*\); replace or remove it"),
        (add_folder, r"images/dog/puppies is a folder inside the class folder .*images/dog, which holds images only"),
    ],
)
def test_one_bad_image_is_named(spoil: Callable[[Path], None], text: str, images: Path, nas: Nas) -> None:
    spoil(images)
    ended = nas("search", "--dataset", "./images", "--space", "tiny_digits", "--max-params", 2000)
    assert_refused(ended, 1, text)
    assert not (nas.cwd / "studies").exists()


def test_options_for_folders_do_not_apply_to_named_sets(nas: Nas) -> None:
    ended = nas("search", "--dataset", "digits", "--space", "tiny_digits", "--max-params", 2000, "--image-size", 16)
    assert_refused(ended, 1, "the images of digits have a fixed size and color")


def test_a_truncated_mnist_file_is_named_with_both_checksums(nas: Nas, no_network: dict[str, str]) -> None:
    raw = nas.cwd / "data/MNIST/raw"
    raw.mkdir(parents=True)
    cut = gzip.compress(b"\0\0\x08\x03" + bytes(1000))[:-9]
    (raw / "train-images-idx3-ubyte.gz").write_bytes(cut)
    ended = nas("search", "--max-params", 8000, env=no_network | {"NAS_DATA_DIR": str(nas.cwd / "data")})
    assert_refused(
        ended, 1, rf"data/MNIST/raw/train-images-idx3-ubyte\.gz is damaged: its {len(cut)} bytes have the MD5 checksum"
    )
    assert "expected f68b3c2dcbeaaa9fbdd348bbdeb94873; remove it and run again" in ended.err


def test_no_data_and_no_network_name_what_helps(nas: Nas, no_network: dict[str, str]) -> None:
    folder = nas.cwd / "nothing"
    ended = nas("search", "--max-params", 8000, env=no_network | {"NAS_DATA_DIR": str(folder)})
    kinds = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    files = ", ".join(f"MNIST/raw/{kind}-ubyte.gz" for kind in kinds)
    assert_refused(
        ended,
        1,
        r"cannot download mnist \(.*Connection refused",
        f"put {files} into {folder}, or take the data set that needs no download: --dataset digits",
    )
    assert not (nas.cwd / "studies").exists()
