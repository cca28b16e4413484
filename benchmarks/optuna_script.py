"""The rival of `nas search`: the script that a person who knows Optuna would write for the same job.

    python benchmarks/optuna_script.py --max-params 8000 --target 99.4 --seconds 3600 --output rival.json

TPE over plain and separable convolutions, trials over budget pruned before training, a median pruner, the textbook
training loop, and, as such scripts do, the test set for everything. It ends when one trial's mean over its last three
epochs meets the target; nothing is confirmed. Every trial is logged with its seconds of training.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import optuna
import textbook
import torch
from torch import nn

from nas.data.load import load_dataset
from nas.host import cache_folder

EPOCHS = 15


def block(kind: str, inputs: int, width: int) -> list[nn.Module]:
    """A plain or a separable convolution with its norm and ReLU."""
    if kind == "plain":
        return [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return [
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.Conv2d(inputs, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    ]


def network(trial: optuna.Trial) -> nn.Sequential:
    """Three stages of one to three blocks, pools between them, global average pooling, one linear layer."""
    layers: list[nn.Module] = []
    channels = 1
    for stage in range(3):
        for index in range(trial.suggest_int(f"blocks_{stage}", 1, 3)):
            kind = trial.suggest_categorical(f"kind_{stage}_{index}", ["plain", "separable"])
            width = trial.suggest_int(f"width_{stage}_{index}", 3, 48)
            layers += block(kind if channels > 1 else "plain", channels, width)
            channels = width
        if stage < 2:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-params", type=int, default=8000)
    parser.add_argument("--target", type=float, default=99.4, help="percent")
    parser.add_argument("--seconds", type=float, default=3600, help="of training, after which it is stopped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("optuna_script.json"))
    arguments = parser.parse_args()
    load_dataset("mnist")  # unpacks the files that the loop reads
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    log: dict[str, Any] = {
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "optuna": optuna.__version__},
        "max_params": arguments.max_params,
        "target": arguments.target,
        "answer": None,
        "trials": [],
    }
    trained = 0.0

    def objective(trial: optuna.Trial) -> float:
        nonlocal trained
        torch.manual_seed(arguments.seed * 100_000 + trial.number)
        model = network(trial)
        rate = trial.suggest_float("learning_rate", 1e-3, 3e-2, log=True)
        batch_size = trial.suggest_categorical("batch_size", [64, 128])
        augmentation = trial.suggest_float("augmentation", 0.0, 1.0)
        num_params = sum(p.numel() for p in model.parameters())
        if num_params > arguments.max_params:
            log["over budget"] = log.get("over budget", 0) + 1
            raise optuna.TrialPruned
        entry: dict[str, Any] = {"number": trial.number, "num_params": num_params, "accuracies": [], "seconds": 0.0}
        log["trials"].append(entry)
        loaders = textbook.loaders(cache_folder(), augmentation, batch_size)
        for accuracy, seconds in textbook.train(model, *loaders, EPOCHS, rate, device):
            trained += seconds
            entry["accuracies"].append(round(accuracy, 2))
            entry["seconds"] = round(entry["seconds"] + seconds, 1)
            log["training seconds"] = round(trained, 1)
            arguments.output.write_text(json.dumps(log, indent=1) + "\n")
            trial.report(accuracy, len(entry["accuracies"]))
            if trained >= arguments.seconds:
                trial.study.stop()
                raise optuna.TrialPruned
            if trial.should_prune():
                raise optuna.TrialPruned
        figure = sum(entry["accuracies"][-3:]) / 3
        if figure >= arguments.target:
            log["answer"] = {"trial": trial.number, "num_params": num_params, "accuracy": round(figure, 2)}
            arguments.output.write_text(json.dumps(log, indent=1) + "\n")
            trial.study.stop()
        return figure

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=arguments.seed),
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=2),
    )
    started = time.perf_counter()
    study.optimize(objective)
    log["wall seconds"] = round(time.perf_counter() - started, 1)
    arguments.output.write_text(json.dumps(log, indent=1) + "\n")
    print(json.dumps({key: log.get(key) for key in ("answer", "training seconds", "wall seconds")}), file=sys.stdout)


if __name__ == "__main__":
    main()
