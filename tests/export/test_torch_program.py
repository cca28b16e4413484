from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sampled import difference, sampled_network, sampled_networks

from nas.arch import Architecture, Block, Head, Input, NormAct, Pool, lower
from nas.costs import costs_of
from nas.errors import ExportError, VerificationError
from nas.export.torch_program import load_torch_program, write_torch_program
from nas.model.image_network import module_of
from nas.model.metadata import metadata_of

torch.set_num_threads(1)

NETWORK = Architecture(
    Input(1, 8, 8),
    3,
    (
        Block(4, repeat=1, norm_act=NormAct(activation="prelu", dropout=0.1)),
        Pool(),
        Block(4, shortcut="identity", repeat=2),
    ),
    Head("conv_gap"),
)
SAMPLE = sampled_network(NETWORK, 0)
CLAIMS = {"num_params": 241, "dataset": "mnist"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    write_torch_program(SAMPLE.trained(), CLAIMS, path)
    return path


def test_file_says_what_it_is_and_computes_it(program: Path) -> None:
    loaded = load_torch_program(program)
    assert loaded.claims == CLAIMS
    assert loaded.input_shape == (1, 8, 8)
    assert loaded.class_names == ("class 0", "class 1", "class 2")
    assert loaded.num_params == (4 * 9 + 8 + 1) + (4 * 4 * 9 + 8) + (4 * 3 + 3) == costs_of(lower(NETWORK)).num_params
    assert difference(loaded.logits(SAMPLE.images), SAMPLE.logits) < 1e-6


def test_the_program_takes_pixels_as_they_are(program: Path) -> None:
    run = torch.export.load(program).module()
    assert difference(run(SAMPLE.images.float()), SAMPLE.logits) < 1e-6
    with pytest.raises(RuntimeError):  # and says so where they are of another type
        run(SAMPLE.images)


def test_a_program_of_the_version_before_is_read(tmp_path: Path) -> None:
    """It takes normalized images, by another name."""
    about = metadata_of(SAMPLE.trained(), CLAIMS).to_json()
    batch = {"x": {0: torch.export.Dim("N", min=1)}}
    made = torch.export.export(module_of(SAMPLE.trained()), (torch.zeros(2, 1, 8, 8),), dynamic_shapes=batch)
    torch.export.save(made, tmp_path / "net.pt2", extra_files={"nas.json": about})
    assert difference(load_torch_program(tmp_path / "net.pt2").logits(SAMPLE.images), SAMPLE.logits) < 1e-6


class Stranger:
    """Runs code where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def change(program: Path, path: Path, **files: Callable[[bytes], bytes]) -> Path:
    """Copy an archive with some of its files changed; they are named by the end of their names, without dots."""
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            edit = files.get(item.filename.rpartition("/")[2].replace(".", "_"), bytes)
            new.writestr(item, edit(old.read(item)))
    return path


def test_no_pickle_in_it_is_read(program: Path, tmp_path: Path) -> None:
    mark, pickled = tmp_path / "it_ran", io.BytesIO()
    torch.save(Stranger(mark), pickled)
    bad = change(program, tmp_path / "bad.pt2", model_pt=lambda _: pickled.getvalue())
    assert difference(load_torch_program(bad).logits(SAMPLE.images), SAMPLE.logits) < 1e-6
    assert not mark.exists()
    weights = change(
        program,
        tmp_path / "weights.pt2",
        weight_0=lambda _: pickled.getvalue(),
        model_weights_config_json=lambda c: c.replace(b'"use_pickle": false', b'"use_pickle": true'),
    )
    with pytest.raises(VerificationError, match="weight_0 is a pickle, which could run code"):
        load_torch_program(weights)
    assert not mark.exists()
    with contextlib.suppress(AssertionError):  # torch's own, behind the harm
        torch.export.load(bad)
    assert mark.exists()  # else this test would show nothing


def test_other_operators_are_not_run(program: Path, tmp_path: Path) -> None:
    for target in ("torch.ops.aten.from_file.default", "os.system", "torch.ops.aten.conv3d.default"):
        edit = lambda c, target=target: c.replace(b"torch.ops.aten.conv2d.default", target.encode())  # noqa: E731
        with pytest.raises(VerificationError, match=rf"calls {target}, which no exported network does; it is not run"):
            load_torch_program(change(program, tmp_path / "bad.pt2", model_json=edit))


def test_operators_that_do_not_fit_are_refused(program: Path, tmp_path: Path) -> None:
    edit = lambda c: c.replace(b'"as_ints": [1, 1]', b'"as_ints": [1, 1, 1, 1]')  # noqa: E731
    loaded = load_torch_program(change(program, tmp_path / "bad.pt2", model_json=edit))
    with pytest.raises(VerificationError, match="'conv2d' cannot be computed"):
        loaded.logits(SAMPLE.images)


@pytest.mark.parametrize("count", [1, 3, 1001])
def test_any_number_of_images(program: Path, count: int) -> None:
    images = SAMPLE.images.repeat(count // 4 + 1, 1, 1, 1)[:count]
    logits = load_torch_program(program).logits(images)
    assert difference(logits, SAMPLE.logits.repeat(count // 4 + 1, 1)[:count]) < 1e-6


@pytest.mark.parametrize("number", range(0, 200, 40))
def test_sampled_networks_compute_what_torch_does(tmp_path: Path, number: int) -> None:
    s = sampled_networks()[number]
    write_torch_program(s.trained(), {}, tmp_path / "net.pt2")
    loaded = load_torch_program(tmp_path / "net.pt2")
    assert difference(loaded.logits(s.images), s.logits) < 1e-6
    assert loaded.num_params == costs_of(lower(s.architecture)).num_params


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"(?s)the weights do not fit the architecture.*Missing key"):
        write_torch_program(SAMPLE.trained(weights={}), CLAIMS, tmp_path / "net.pt2")


def test_unwritable_path_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"cannot write .*choose another `output`"):
        write_torch_program(SAMPLE.trained(), {}, tmp_path / "no" / "net.pt2")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    with pytest.raises(VerificationError, match="is not there"):
        load_torch_program(path)
    path.write_bytes(b"not a network")
    with pytest.raises(VerificationError, match=r"is not a torch\.export program"):
        load_torch_program(path)
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1),)), path)
    with pytest.raises(VerificationError, match="does not say what it is"):
        load_torch_program(path)
