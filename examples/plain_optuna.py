"""A plain Optuna script: your own training loop, with proposals within a budget and early stopping against the front.

    python examples/plain_optuna.py

scikit-learn's digits, no download, less than a minute on one core. Nothing here needs a study folder or `nas search`:
the sampler and the pruner derive the size of each network from its genes.
"""

import argparse
import math
import time

import optuna
import torch
from sklearn.datasets import load_digits
from torch.nn.functional import cross_entropy

from nas.arch import Input
from nas.costs import Budget
from nas.model.build import build
from nas.space import candidate, load_space, recipe_of
from nas.strategy.optuna_pruner import ParetoPruner
from nas.strategy.optuna_sampler import BudgetSampler, suggest_genes
from nas.study.front import pareto_front

EPOCHS = 8
SPACE = load_space("tiny_digits", Input(1, 8, 8), 10)
DIGITS = load_digits()
IMAGES = torch.tensor(DIGITS.images, dtype=torch.float32).unsqueeze(1) / 16  # (N, 1, 8, 8), 0 to 1
LABELS = torch.tensor(DIGITS.target)  # (N,)
TRAIN, VALIDATION = slice(0, 800), slice(800, 1300)  # the others are left for a test of the final choice


def objective(trial: optuna.Trial) -> float:
    """Return the validation accuracy, in percent, of the network that `trial` proposes."""
    genes = suggest_genes(trial, SPACE)
    found = candidate(SPACE, genes)
    assert found is not None  # the sampler proposes no other; genes that you enqueue might make no network
    dropout = trial.suggest_float("input_dropout", 0.0, 0.2)  # what the space does not know is drawn at random
    recipe = recipe_of(SPACE, genes)
    torch.manual_seed(trial.number)
    network = build(found.layers)
    optimizer = torch.optim.Adam(network.parameters())
    steps = EPOCHS * math.ceil(TRAIN.stop / recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    accuracy = 0.0
    for epoch in range(1, EPOCHS + 1):
        network.train()
        for batch in torch.randperm(TRAIN.stop).split(recipe.batch_size):
            images = torch.nn.functional.dropout(IMAGES[batch], dropout)
            loss = cross_entropy(network(images), LABELS[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        network.eval()
        with torch.no_grad():
            right = network(IMAGES[VALIDATION]).argmax(dim=1) == LABELS[VALIDATION]
        accuracy = 100 * right.float().mean().item()
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return accuracy


def main() -> None:
    """Search, and print the front."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="to try")
    parser.add_argument("--max-params", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # such networks are too small for more
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    started = time.monotonic()
    study = optuna.create_study(
        direction="maximize",
        sampler=BudgetSampler(SPACE, Budget(options.max_params)),
        pruner=ParetoPruner(SPACE, EPOCHS),
    )
    study.optimize(objective, n_trials=options.trials)

    completed = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    found = [(candidate(SPACE, trial.params), trial) for trial in completed]
    points = [(network.costs.num_params, trial.value or 0.0, trial.number) for network, trial in found if network]
    print(
        f"{len(study.trials)} trials, {len(study.trials) - len(completed)} of them stopped early, in "
        f"{time.monotonic() - started:.0f} s; the front within {options.max_params:,} parameters:"
    )
    for num_params, accuracy, number in pareto_front(points, lambda p: p[0], lambda p: p[1]):
        print(f"{num_params:6,} parameters  {accuracy:6.2f} %  trial {number}")


if __name__ == "__main__":
    main()
