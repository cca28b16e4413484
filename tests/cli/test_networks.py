"""Single networks from end to end: out of a study or a file, into a module that stands on its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from nas.data.load import load_dataset

if TYPE_CHECKING:
    from conftest import Finished, Nas, Study

KEPT = Path(__file__).parents[2] / "studies/mnist-8000/net.py"  # of version 0.1
COSTS = {"num_params", "deployed_params", "num_macs", "peak_activation_bytes"}

NETWORK = """
name = "six wide"
input = [1, 8, 8]
classes = 10
dataset = "digits"
norm_act = { norm = "batch", activation = "relu" }
body = [
  { type = "block", width = 6 },
  { type = "pool", kind = "max" },
  { type = "block", width = 8 },
]
head = { kind = "gap_linear", bias = true }

[recipe]
epochs = 5
batch_size = 32
learning_rate = 0.02
"""
# Convolutions without bias where a norm follows, the norms, the linear layer.
NETWORK_PARAMS = 1 * 6 * 9 + 2 * 6 + 6 * 8 * 9 + 2 * 8 + 8 * 10 + 10


@pytest.fixture
def network(nas: Nas) -> str:
    (nas.cwd / "six.toml").write_text(NETWORK)
    return "six.toml"


# Out of a study


@pytest.fixture(scope="module")
def exported(digits_study: Study, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The answer of the shared study as a module, in a folder of its own."""
    module = tmp_path_factory.mktemp("exported") / "net.py"
    ended = digits_study.nas("export", "small", "-o", module, "--json")
    assert ended.rc == 0, ended.err
    return module, ended


def test_an_export_claims_what_the_study_found(exported: tuple[Path, Finished], digits_study: Study) -> None:
    module, ended = exported
    claims = ended.json
    assert claims.keys() == COSTS | {
        "module", "weights", "trial", "name", "input", "digest", "dataset", "data_fingerprint", "split_seed",
        "validation_accuracy",
        "test_accuracy", "test_spread", "seeds", "weights_test_accuracy",
    }  # fmt: skip
    assert (claims["module"], claims["weights"]) == (str(module), str(module.with_suffix(".pt")))
    text = module.read_text()
    assert f"CLASSES = {tuple(map(str, range(10)))}".replace("'", '"') in text
    best = max((row for row in digits_study.search.json["front"] if row["seeds"]), key=lambda row: row["test_accuracy"])
    shared = COSTS | {"trial", "digest", "validation_accuracy", "test_accuracy", "test_spread", "seeds"}
    assert {key: claims[key] for key in shared} == {key: best[key] for key in shared}


def test_an_export_verifies(exported: tuple[Path, Finished], nas: Nas) -> None:
    module, ended = exported
    verified = nas("verify", module, "--json")
    assert verified.rc == 0
    assert verified.json.keys() == {"module", "holds", "checks", "thop_macs", "thop_params"}
    assert verified.json["thop_params"] == ended.json["num_params"]
    assert verified.json["thop_macs"] > ended.json["num_macs"]
    assert verified.json["holds"] is True
    checks = {check["claim"]: check for check in verified.json["checks"]}
    assert checks.keys() == COSTS | {"digest", "num_classes", "weights_test_accuracy"}
    assert checks.pop("num_classes")["derived"] == 10
    for claim, check in checks.items():
        assert check.keys() == {"claim", "claimed", "derived", "holds"}
        assert check["claimed"] == check["derived"] == ended.json[claim]


def test_altered_claims_are_found_out(exported: tuple[Path, Finished], nas: Nas) -> None:
    module, ended = exported
    text = module.read_text()
    for claim, value in (("num_params", 1234), ("weights_test_accuracy", 99.9)):
        text, count = re.subn(rf'("{claim}"): [\d.]+', rf"\1: {value}", text)
        assert count == 1
    (nas.cwd / "net.py").write_text(text)
    (nas.cwd / "net.pt").write_bytes(module.with_suffix(".pt").read_bytes())
    verified = nas("verify", "net.py")
    assert verified.rc == 1
    verdicts = {line.split()[0]: line for line in verified.out.splitlines()}
    assert {claim for claim, line in verdicts.items() if line.endswith("DOES NOT HOLD")} == {
        "num_params",
        "weights_test_accuracy",
    }
    assert re.search(rf"claimed 1234 +derived {ended.json['num_params']} ", verdicts["num_params"])


def test_a_module_whose_weights_are_missing(exported: tuple[Path, Finished], nas: Nas) -> None:
    (nas.cwd / "net.py").write_text(exported[0].read_text())
    verified = nas("verify", "net.py", "--json")
    assert verified.rc == 1
    assert verified.out == ""
    assert "keep the weights beside the module, under its name with .pt" in verified.err


ALONE = """
import importlib.util, json, sys

class NoNas:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "nas":
            raise ImportError("nas is not to be had here")

sys.meta_path.insert(0, NoNas())
import torch

spec = importlib.util.spec_from_file_location("net", sys.argv[1])
net = importlib.util.module_from_spec(spec)
spec.loader.exec_module(net)
images, labels = torch.load(sys.argv[2], weights_only=True)
mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (net.MEAN, net.STD))
with torch.inference_mode():
    guesses = net.load_trained()((images / 255 - mean) / std).argmax(dim=1)
json.dump({"accuracy": 100 * (guesses == labels).double().mean().item(), "claims": net.CLAIMS}, sys.stdout)
"""


def in_isolation(module: Path, folder: Path) -> Any:
    """The module's accuracy on the test digits and its claims, found by a Python that has torch and no nas."""
    test = load_dataset("digits").test
    torch.save((test.images, test.labels), folder / "test.pt")
    command = [sys.executable, "-I", "-c", ALONE, str(module), str(folder / "test.pt")]
    return json.loads(subprocess.check_output(command, cwd=folder, text=True, timeout=60))


def test_an_export_needs_nothing_but_torch(exported: tuple[Path, Finished], tmp_path: Path) -> None:
    module, ended = exported
    found = in_isolation(module, tmp_path)
    one_image = 100 / 360  # rounding may tip a tie
    assert found["accuracy"] == pytest.approx(ended.json["weights_test_accuracy"], abs=one_image)
    assert found["claims"]["num_params"] == ended.json["num_params"]
    assert found["accuracy"] > 30  # a network that guesses has 10


def test_an_unconfirmed_trial_makes_no_claim_about_the_test_set(study_copy: Study) -> None:
    front = study_copy.search.json["front"]
    confirmed = {row["trial"] for row in front if row["seeds"]}
    networks = study_copy.path.glob("run/networks/trial_*[0-9].safetensors")
    weights = {int(p.stem.split("_")[1]) for p in networks if "conf" not in p.stem}
    unconfirmed = sorted(weights - confirmed - confirmed_trials(study_copy.path))
    if not unconfirmed:
        pytest.fail("every trial of the shared study is confirmed; give it other settings")
    exported = study_copy.nas("export", "small", "--trial", unconfirmed[0], "-o", "net.py", "--json")
    assert exported.rc == 0, exported.err
    assert not {"test_accuracy", "seeds", "weights_test_accuracy"} & exported.json.keys()
    verified = study_copy.nas("verify", "net.py")
    assert verified.rc == 0
    assert "weights_test_accuracy    not claimed: the network was not confirmed" in verified.out


def confirmed_trials(study: Path) -> set[int]:
    return {int(path.stem.split("_")[1]) for path in study.glob("run/networks/trial_*_confirmed_*.safetensors")}


# Out of a file


def test_a_network_is_shown_with_its_table_and_picture(network: str, nas: Nas) -> None:
    shown = nas("arch", "show", network)
    assert shown.rc == 0
    assert shown.err == ""
    assert shown.out.startswith("six wide  (digest ")
    assert f"{NETWORK_PARAMS:,}" in shown.out
    macs, norms_and_pool = 6 * 9 * 64 + 6 * 8 * 9 * 16 + 8 * 10, 4 * (6 * 64 + 8 * 16) + (8 * 16 + 8)
    assert re.search(
        rf"^thop counts {macs + norms_and_pool:,} MACs, {NETWORK_PARAMS} parameters: thop counts norms",
        shown.out,
        re.MULTILINE,
    )
    assert shown.out.count("Conv2d") >= 2


def test_a_module_is_exported_without_its_study(exported: tuple[Path, Finished], nas: Nas) -> None:
    module, ended = exported
    made = nas("export", module, "-o", "net.h", "--json")
    assert made.rc == 0, made.err
    assert made.json.keys() == ended.json.keys() - {"weights", "trial"}
    assert nas("verify", "net.h").rc == 0
    told = nas("export", module, "-o", "out/net.py")
    assert told.out.startswith(
        f"wrote out/net.py and out/net.pt: {ended.json['name']}, {ended.json['num_params']} parameters "
        f"({ended.json['deployed_params']} deployed)\nit takes images"
    )
    assert nas("verify", "out/net.py").rc == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("net.py --trial 3", "error: --trial 3 is for studies, and net.py is a module with one network; leave it out"),
        ("small --data x", "error: --data x is for modules; say by --data-dir where the images of a study are now"),
        ("net.pt", "error: net.pt is not exported from; give its study, or the module (.py) of the same network"),
    ],
)
def test_what_an_export_cannot_do(arguments: str, text: str, nas: Nas) -> None:
    (nas.cwd / "net.pt").touch()
    ended = nas("export", *arguments.split(), "-o", "net.h")
    assert (ended.rc, ended.out, ended.err) == (2, "", f"{text}\n")


def test_a_module_of_an_earlier_version_is_not_exported(nas: Nas) -> None:
    ended = nas("export", KEPT, "-o", "net.onnx")
    assert ended.rc == 1
    assert "has no ARCHITECTURE to export: an earlier version of nas wrote it; export it again from its" in ended.err


def test_an_exported_network_is_no_architecture_file(exported: tuple[Path, Finished], nas: Nas) -> None:
    ended = nas("arch", "show", exported[0])
    assert (ended.rc, ended.out) == (2, "")
    assert ended.err.endswith(f"see what an export holds with: nas verify {exported[0]}\n")


def test_a_network_is_shown_as_json(network: str, nas: Nas) -> None:
    shown = nas("arch", "show", network, "--json").json
    assert shown.keys() == COSTS | {"name", "digest", "layers"}
    assert shown["num_params"] == NETWORK_PARAMS
    assert sum(layer["num_params"] for layer in shown["layers"]) == NETWORK_PARAMS
    assert shown["num_macs"] == 6 * 9 * 64 + 6 * 8 * 9 * 16 + 8 * 10


def test_a_network_is_trained_written_and_verified(network: str, nas: Nas, tmp_path: Path) -> None:
    trained = nas("arch", "train", network, "--epochs", 2, "--test", "-o", "out/net.py", "--json")
    assert trained.rc == 0, trained.err
    result = trained.json
    assert result.keys() == COSTS | {
        "name", "input", "digest", "dataset", "trained_on", "test_accuracy", "figure", "seed", "device",
        "train_seconds", "images_per_second",
    }  # fmt: skip
    assert result["num_params"] == NETWORK_PARAMS
    assert (result["trained_on"], len(result["test_accuracy"])) == ("train", 2)
    assert result["figure"] == pytest.approx(sum(result["test_accuracy"]) / 2, abs=1e-3)
    assert re.search(r"^epoch 2/2 +loss [\d.]+ +test [\d.]+ %", trained.err, re.MULTILINE)
    verified = nas("verify", "out/net.py")
    assert verified.rc == 0, verified.out
    found = in_isolation(nas.cwd / "out/net.py", tmp_path)
    assert found["accuracy"] == pytest.approx(result["test_accuracy"][-1], abs=100 / 360)


def test_a_network_is_validated_unless_the_test_set_is_asked_for(network: str, nas: Nas) -> None:
    trained = nas("arch", "train", network, "--epochs", 1, "-o", "net.py")
    assert trained.rc == 0, trained.err
    assert re.fullmatch(
        rf"six wide: {NETWORK_PARAMS} parameters \(\d+ deployed\), validation accuracy [\d.]+ % "
        rf"\(mean of the last epoch\), best epoch [\d.]+ %, "
        rf"[\d,]+ images a second\nwrote net\.py; it takes images \(N, 1, 8, 8\) as float32, .*\n",
        trained.out,
    )
    assert "weights_test_accuracy    not claimed" in nas("verify", "net.py").out


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.h"])
def test_a_network_is_trained_into_any_float_format(name: str, network: str, nas: Nas) -> None:
    trained = nas("arch", "train", network, "--epochs", 1, "--test", "-o", name, "--json")
    assert trained.rc == 0, trained.err
    verified = nas("verify", name, "--json")
    assert verified.rc == 0, verified.out
    checks = {check["claim"]: check["derived"] for check in verified.json["checks"]}
    assert checks["num_classes"] == 10
    assert checks["weights_test_accuracy"] == pytest.approx(trained.json["test_accuracy"][-1], abs=100 / 360)


def test_a_network_for_other_images_is_refused(network: str, nas: Nas, no_network: dict[str, str]) -> None:
    text = NETWORK.replace("[1, 8, 8]", "[1, 10, 10]")
    (nas.cwd / network).write_text(text)
    ended = nas("arch", "train", network)
    assert ended.rc == 1
    assert ended.out == ""
    assert "six wide is for images 1x10x10 of 10 classes, and digits has 1x8x8 of 10; change `input`" in ended.err


@pytest.mark.parametrize("output", ["net.int8.pt", "firmware/"])
def test_a_network_is_trained_into_formats_in_8_bits(output: str, network: str, nas: Nas) -> None:
    ended = nas("arch", "train", network, "--test", "-o", output)
    assert ended.rc == 0, ended.err
    assert re.search(r"bytes in 8 bits, .* in float32; test accuracy of these weights [\d.]+ % in 8 bits", ended.out)
    verified = nas("verify", output)
    assert verified.rc == 0, verified.out + verified.err
    assert "weights_test_accuracy" in verified.out


@pytest.mark.parametrize("place", ["net.txt", "a_file/net.py"])
def test_a_place_that_cannot_be_written_is_refused_before_training(place: str, network: str, nas: Nas) -> None:
    (nas.cwd / "a_file").write_text("in the way")
    ended = nas("arch", "train", network, "-o", place)
    assert ended.rc in (1, 2)
    assert ended.out == ""
    assert "epoch 1" not in ended.err
    assert re.search(
        r"net\.txt: the name says the format and must end in one of \.py|"
        r"cannot write a_file/net\.py: .*; choose another \S*output",
        ended.err,
    )


# Out of a space


def test_spaces_are_listed(nas: Nas) -> None:
    listed = nas("space", "list", "--json").json
    assert {frozenset(space) for space in listed} == {frozenset({"name", "summary"})}
    assert {"separable", "tiny_digits"} <= {space["name"] for space in listed}
    shown = nas("space", "list").out
    assert all(space["name"] in shown and space["summary"] in shown for space in listed)


def test_a_space_is_shown(nas: Nas) -> None:
    shown = nas("space", "show", "tiny_digits", "--dataset", "digits", "--json").json
    assert shown.keys() == {"name", "summary", "dataset", "digest", "log10_size", "least", "most", "genes", "priors"}
    assert shown["least"].keys() == shown["most"].keys() == {"num_params", "deployed_params", "digest", "genes"}
    text = nas("space", "show", "tiny_digits", "--dataset", "digits").out
    assert all(gene in text for gene in shown["genes"])
    assert f"{shown['least']['num_params']:,} to {shown['most']['num_params']:,} parameters" in text


def test_samples_stay_within_the_budget(nas: Nas) -> None:
    arguments = ("space", "sample", "tiny_digits", "--dataset", "digits", "-n", 40, "--max-params", 900)
    sampled = nas(*arguments, "--json")
    assert sampled.rc == 0
    assert sampled.err == ""
    assert len(sampled.json) == 40
    keys = {*COSTS, "flash_bytes", "ram_bytes", "digest", "genes"}
    assert all(found.keys() == keys for found in sampled.json)
    assert max(found["num_params"] for found in sampled.json) <= 900
    text = nas(*arguments).out
    assert [line.split()[5] for line in text.splitlines()[1:]] == [found["digest"] for found in sampled.json]
