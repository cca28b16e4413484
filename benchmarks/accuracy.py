"""Does the engine's speed cost accuracy? Real MNIST, trained on all 60,000 images, the test set read at each epoch.

    python benchmarks/accuracy.py textbook ours          # 003 model 3 by both loops with one recipe, 3 seeds each
    python benchmarks/accuracy.py references             # the seven reference networks, each with its own recipe

Every finished training is added to the output file, and one that is there already is not repeated.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import textbook
import torch
from throughput import networks

from nas.arch import Recipe, lower, read_architecture
from nas.data.load import load_dataset
from nas.host import cache_folder
from nas.model.build import build
from nas.train.device import find_device, use_one_thread
from nas.train.engine import train
from nas.train.prepared_data import prepare

REFERENCE = Path(__file__).parents[1] / "studies/reference"
RECIPE = Recipe(epochs=15, batch_size=128, augmentation=0.7)  # Adam, 0.01, one cycle: what textbook.py does


def by_textbook(seed: int, device: torch.device) -> list[float]:
    """Test accuracy (percent) of each epoch of reference network 003 model 3."""
    architecture, _ = networks()["003 model 3"]
    torch.manual_seed(seed)
    network = build(lower(architecture))
    loaders = textbook.loaders(cache_folder(), RECIPE.augmentation, RECIPE.batch_size)
    epochs = textbook.train(network, *loaders, RECIPE.epochs, RECIPE.learning_rate, device)
    return _shown(accuracy for accuracy, _ in epochs)


def by_engine(path: Path, recipe: Recipe | None, seed: int, device: torch.device) -> list[float]:
    """Test accuracy (percent) of each epoch of the network of `path`, by its own recipe where none is given."""
    described = read_architecture(path)
    data = load_dataset("mnist")
    use_one_thread(device)
    torch.manual_seed(seed)
    network = build(lower(described.architecture))
    prepared = prepare(data.train, data.test, data.policy, device)
    return _shown(epoch.accuracy for epoch in train(network, recipe or described.recipe, prepared, seed))


def _shown(accuracies: Iterator[float]) -> list[float]:
    done = []
    for accuracy in accuracies:
        done.append(round(accuracy, 2))
        print(f"  epoch {len(done)}: {accuracy:.2f} %", file=sys.stderr, flush=True)
    return done


def trainings(what: list[str], seeds: int, device: torch.device) -> Iterator[tuple[str, Any]]:
    """(name, function that trains and returns the curve) of everything asked for."""
    load_dataset("mnist")  # unpacks, so that the textbook loop finds its files
    for seed in range(seeds):
        if "textbook" in what:
            yield f"textbook, seed {seed}", lambda seed=seed: by_textbook(seed, device)
        if "ours" in what:
            path = REFERENCE / "003_model_3.toml"
            yield f"ours, seed {seed}", lambda seed=seed, path=path: by_engine(path, RECIPE, seed, device)
    if "references" in what:
        for path in sorted(REFERENCE.glob("*.toml")):
            yield f"reference {path.stem}", lambda path=path: by_engine(path, None, 0, device)


def summary(curves: dict[str, list[float]]) -> dict[str, Any]:
    """Means of the last three epochs of both loops; best epochs of the references against their documents."""
    found: dict[str, Any] = {}
    for kind in ("textbook", "ours"):
        figures = [statistics.mean(curve[-3:]) for name, curve in curves.items() if name.startswith(kind)]
        if figures:
            spread = statistics.stdev(figures) if len(figures) > 1 else None
            found[kind] = {"mean": round(statistics.mean(figures), 3), "sd": spread and round(spread, 3)}
            found[kind]["seeds"] = len(figures)
    if len(found) == 2:
        found["ours minus textbook"] = round(found["ours"]["mean"] - found["textbook"]["mean"], 3)
    for path in sorted(REFERENCE.glob("*.toml")):
        if curve := curves.get(f"reference {path.stem}"):
            published = read_architecture(path).published_best_test_accuracy
            found[path.stem] = {"best epoch": max(curve), "published": published}
            found[path.stem]["difference"] = round(max(curve) - published, 2) if published else None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=["textbook", "ours", "references"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, default=Path("accuracy.json"))
    arguments = parser.parse_args()
    device = find_device(arguments.device)
    document: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "recipe of textbook and ours": asdict(RECIPE),
        "curves": {},
    }
    if arguments.output.exists():
        document["curves"] = json.loads(arguments.output.read_text())["curves"]
    for name, training in trainings(arguments.what, arguments.seeds, device):
        if name not in document["curves"]:
            print(name, file=sys.stderr, flush=True)
            document["curves"][name] = training()
        document["summary"] = summary(document["curves"])
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document["summary"], indent=2))


if __name__ == "__main__":
    main()
