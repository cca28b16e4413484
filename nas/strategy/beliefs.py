"""What a search believes: the accuracy model of all that a study has trained, and what follows for its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from nas.space import Genes, Space
from nas.strategy.accuracy_model import AccuracyModel, Array, Moment
from nas.strategy.network_inputs import NetworkInputs
from nas.strategy.observations import Observation, log_odds
from nas.study.settings import StudySettings

QUARTERS = (0.25, 0.5, 0.75)  # of a training, at which the model is told the accuracy so far
# Where more trainings have ended, the model is told the last epoch alone of those before: a decision stays cheap.
DETAILED = 60
# Finished trials at which the hyperparameters are fitted anew. They are those of the first trials, and so depend on
# nothing but these, whenever the search was interrupted.
FITTED_AT = (4, 7, 11, 16, 24, 36, 54, 80, 120, 180, 270, 400)
FITTED_ON = 50  # trials, the last of them
DOUBTED_TRIALS = 2.0
WORTHWHILE = 0.97  # of the parameters of the smallest network so far: one that saves less is not worth its trainings
_NEW = -(10**9)  # a training of which nothing was seen
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Goal:
    """What the search is for, and how far it has come."""

    target: float  # percent of the test set, the mean of `num_seeds` trainings
    num_seeds: int
    below: int | None = None  # parameters of the smallest network that met it
    confirming: tuple[int, ...] = ()  # trials whose confirmations are under way

    @property
    def most_useful(self) -> float:
        """The most parameters with which a network is worth its trainings; infinite before there is an answer."""
        return math.inf if self.below is None else math.ceil(WORTHWHILE * self.below) - 1


def quarters_of(epochs: int) -> list[int]:
    """Return the epochs, from 1, at the quarters of a training."""
    return sorted({max(1, round(quarter * epochs)) for quarter in QUARTERS})


def goal_of(settings: StudySettings, below: int | None = None, confirming: Sequence[int] = ()) -> Goal | None:
    """Return what a study is for; None without a target."""
    if settings.target is None:
        return None
    return Goal(settings.target, settings.num_seeds, below, tuple(sorted(confirming)))


@dataclass(frozen=True, slots=True)
class Network:
    """A network that may have been trained, as the model sees it."""

    genes: Genes
    num_params: int
    num_macs: int
    identity: tuple[Any, ...]


class Beliefs:
    """Learns trials and confirmations in any order, and predicts."""

    def __init__(self, space: Space, epochs: int | None = None) -> None:
        """`epochs` is the length of every training; by default that of the longest that was seen."""
        self.space = space
        self.trials: dict[int, Observation] = {}
        self.confirmed: dict[int, tuple[float, ...]] = {}  # percent of each seed, by trial
        self.inputs = NetworkInputs(space)
        self._recipe_genes = [name for name, key in space.keys.items() if key.startswith("recipe.")]
        self._networks: dict[tuple[Any, ...], int] = {}
        self._epochs = epochs
        self._model = AccuracyModel(self.inputs.groups)
        self._fitted_on: tuple[int, ...] = ()  # trials, by number
        self._is_current = False
        self.version = 0  # of what was learned
        self._inputs_of: dict[tuple[Any, ...], list[float]] = {}

    # Learning

    def learn(self, trial: Observation) -> None:
        """Take in a trial, or what has become of it."""
        if self.trials.get(trial.number) != trial:
            self.trials[trial.number] = trial
            self.version += 1
            self._is_current = False

    def learn_confirmation(self, number: int, figures: tuple[float, ...]) -> None:
        """Take in what the seeds of a trial's confirmation came to, percent."""
        if self.confirmed.get(number, ()) != figures:
            self.confirmed[number] = figures
            self.version += 1
            self._is_current = False

    def network(self, trial: Observation) -> Network:
        """Return the network of `trial`."""
        return Network(trial.genes, trial.num_params, trial.num_macs, self.identity(trial.digest, trial.genes))

    def identity(self, digest: str, genes: Genes) -> tuple[Any, ...]:
        """Return what two trainings share that differ in their seeds alone."""
        return digest, *(genes[name] for name in self._recipe_genes)

    @property
    def epochs(self) -> int:
        """Return the epochs of a training, as far as they are known."""
        return self._epochs or max((len(t.curve) for t in self.trials.values()), default=1)

    @property
    def trained(self) -> list[Observation]:
        """Return the trials whose trainings are over, by number."""
        return [trial for _, trial in sorted(self.trials.items()) if trial.was_trained]

    def _moments(self, trial: Observation, is_detailed: bool) -> list[Moment]:
        epochs, reached = self.epochs, len(trial.curve)
        best = list(accumulate(trial.curve, max))
        ends = [epoch for epoch in quarters_of(epochs) if epoch <= min(reached, epochs - 1)]
        network = self._number(self.network(trial))
        moments = [
            Moment(network, trial.number, epoch / epochs, False, log_odds(best[epoch - 1]))
            for epoch in (ends if is_detailed or trial.final_accuracy is None else [])
        ]
        if trial.final_accuracy is not None:
            moments.append(Moment(network, trial.number, 1.0, False, log_odds(trial.final_accuracy)))
        return moments

    def _number(self, network: Network) -> int:
        return self._networks.setdefault(network.identity, len(self._networks))

    def _inputs(self, network: Network) -> list[float]:
        # Not by identity: one network may have several genes, and which of them was asked about first must not matter.
        genes = tuple(network.genes[name] for name in self.space.genes)
        if genes not in self._inputs_of:
            self._inputs_of[genes] = self.inputs.of(network.genes, network.num_params)
        return self._inputs_of[genes]

    def _learn_all(self) -> None:
        if self._is_current:
            return
        self._fit()
        trials = [t for _, t in sorted(self.trials.items()) if t.was_trained or t.fate == "running"]
        inputs, moments = self._rows(trials)
        for number, figures in sorted(self.confirmed.items()):
            trial = self.trials[number]
            network = self._number(self.network(trial))
            for seed, figure in enumerate(figures):
                inputs.append(self._inputs(self.network(trial)))
                moments.append(Moment(network, -1 - number * 100 - seed, 1.0, True, log_odds(figure)))
        self._model.learn(np.array(inputs), moments)
        self._is_current = True

    def _rows(self, trials: Sequence[Observation]) -> tuple[list[list[float]], list[Moment]]:
        inputs, moments = [], []
        for at, trial in enumerate(trials):
            known = self._moments(trial, at >= len(trials) - DETAILED)
            moments += known
            inputs += [self._inputs(self.network(trial))] * len(known)
        return inputs, moments

    def _fit(self) -> None:
        """Fit the hyperparameters on the first trials, as many of `FITTED_AT` as have all ended.

        They follow from these trials alone, whenever and however often the model was asked meanwhile.
        """
        whole = next((n for n, trial in sorted(self.trials.items()) if trial.fate == "running"), len(self.trials))
        first = [trial for trial in self.trained if trial.number < whole]
        at = max((count for count in FITTED_AT if count <= len(first)), default=0)
        chosen = first[max(0, at - FITTED_ON) : at]
        numbers = tuple(trial.number for trial in chosen)
        if numbers != self._fitted_on:
            self._fitted_on = numbers
            self._model = AccuracyModel(self.inputs.groups)
            if chosen:
                inputs, moments = self._rows(chosen)
                self._model.fit(np.array(inputs), moments)

    # Predictions

    @property
    def can_predict(self) -> bool:
        """Whether some training has come to a moment that the model is told."""
        first = quarters_of(self.epochs)[0]
        return any(t.final_accuracy is not None or len(t.curve) >= first for t in self.trained)

    def ends(self, networks: Sequence[Network], of_trial: int | None = None) -> tuple[Array, Array]:
        """Return means and standard deviations of the log-odds of the validation accuracy that trainings end with.

        They are new trainings of `networks`; or the one of trial `of_trial`, the luck that it has had included.
        """
        mean, variance = self._predict(networks, -1 if of_trial is None else of_trial, confirms=False)
        return mean, np.sqrt(variance)

    def chances(self, networks: Sequence[Network], goal: Goal) -> Array:
        """Return the probability of each of `networks` that a confirmation of it meets the target."""
        return self._chances(networks, log_odds(goal.target), goal.num_seeds)

    def chance(self, trial: Observation, goal: Goal) -> float:
        """Return the probability that the confirmation of `trial` meets the target, with the seeds it has had."""
        figures = self.confirmed.get(trial.number, ())
        left = goal.num_seeds - len(figures)
        if left <= 0:
            return float(fmean(figures) >= goal.target)
        needed = (goal.num_seeds * goal.target - sum(figures)) / left  # percent, the mean of the seeds that are left
        return float(self._chances([self.network(trial)], log_odds(needed), left)[0]) if needed < 100 else 0.0

    def chance_under_way(self, trial: Observation, goal: Goal, curve: Sequence[float]) -> float:
        """Return what `chance` does where a seed is being trained that has the test accuracies of `curve` so far."""
        self._learn_all()
        figures = self.confirmed.get(trial.number, ())
        left = goal.num_seeds - len(figures)
        needed = (goal.num_seeds * goal.target - sum(figures)) / left
        network, inputs = self._number(self.network(trial)), self._inputs(self.network(trial))
        at = ((-1, len(curve) / self.epochs), (-1, 1.0), (-2, 1.0))  # this training now and at its end, and another
        moments = [Moment(network, _NEW + training, progress, True, 0.0) for training, progress in at]
        mean, covariance = self._model.predict_jointly(np.array([inputs] * len(at)), moments)
        gain = covariance[1:, 0] / covariance[0, 0]
        mean = mean[1:] + gain * (log_odds(max(curve)) - mean[0])
        covariance = covariance[1:, 1:] - np.outer(gain, covariance[0, 1:])
        weights = np.array([1, left - 1]) / left
        # The seeds after this one share their mean, and not their luck.
        covariance = covariance * self._doubt
        spared = 0.0 if left == 1 else weights[1] ** 2 * self._model.luck**2 * (1 - 1 / (left - 1))
        deviation = math.sqrt(max(float(weights @ covariance @ weights) - spared, 1e-9))
        return _NORMAL.cdf((float(weights @ mean) - log_odds(needed)) / deviation) if needed < 100 else 0.0

    def _chances(self, networks: Sequence[Network], needed: float, seeds: int) -> Array:
        mean, variance = self._predict(networks, -1, confirms=True)
        variance = variance - self._model.luck**2 * (1 - 1 / seeds)
        z = (mean - needed) / np.sqrt(np.maximum(variance, 1e-9))
        return np.array([_NORMAL.cdf(float(x)) for x in z])

    def _predict(self, networks: Sequence[Network], training: int, confirms: bool) -> tuple[Array, Array]:
        self._learn_all()
        inputs = np.array([self._inputs(network) for network in networks])
        numbers = [self._networks.get(network.identity, -1 - at) for at, network in enumerate(networks)]
        ends = [Moment(n, _NEW if training < 0 else training, 1.0, confirms, 0.0) for n in numbers]
        mean, variance = self._model.predict(inputs, ends)
        return mean, variance * self._doubt

    @property
    def _doubt(self) -> float:
        """Return the factor of all variances: the fewer trials, the less the hyperparameters are known."""
        return 1 + DOUBTED_TRIALS / max(1, len(self.trained))
