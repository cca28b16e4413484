"""A search whose networks are trained by a function of your own, here with mixup and SGD.

    python examples/own_training.py

scikit-learn's digits, no download, a minute or two on one core. The search proposes, stops early, confirms and exports
as ever; the function does the training.
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import nas
from nas.arch import Recipe


def train_with_mixup(network: nn.Module, recipe: Recipe, trial: nas.Trial) -> float:
    """Train `network` (images as they are in, logits out) for `recipe.epochs`; return its accuracy in percent."""
    torch.manual_seed(trial.seed)
    images, labels = trial.train_images, trial.train_labels  # uint8 (N, C, H, W), int64 (N), on trial.device
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    for epoch in range(1, recipe.epochs + 1):
        network.train()
        total = 0.0
        for batch in torch.randperm(len(labels), device=trial.device).split(recipe.batch_size):
            share, other = torch.rand((), device=trial.device), batch[torch.randperm(len(batch), device=trial.device)]
            logits = network(share * images[batch] + (1 - share) * images[other])
            loss = share * cross_entropy(logits, labels[batch]) + (1 - share) * cross_entropy(logits, labels[other])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        schedule.step()
        trial.report(epoch, trial.accuracy(), total / len(labels))  # does not return where the search stops the trial
    return trial.accuracy()


def main() -> None:
    """Search, and take the answer away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10, help="to try")
    parser.add_argument("--epochs", type=int, default=8)
    options = parser.parse_args()
    study = nas.search(
        max_params=1000,
        dataset="digits",
        space="tiny_digits",
        name="mixup",
        train=train_with_mixup,
        max_trials=options.trials,
        epochs=options.epochs,
        num_seeds=2,
    )
    print(study.answer)
    print(study.export("mixup.py")["trained_by"])


if __name__ == "__main__":
    main()
