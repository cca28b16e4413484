"""What to confirm, when, and when to give it up.

With a target, seeds are raced: the next one is of the network that promises the most for its cost. Without one, the
front is confirmed at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from nas.strategy.beliefs import Beliefs, Goal
from nas.strategy.observations import Observation
from nas.strategy.stopping import rungs_of
from nas.strategy.worth import SEED_COST, confirmation_cost, saving
from nas.study.front import validation_front
from nas.study.records import TrialRecord

LIKELY = 0.3  # the least chance of meeting the target that is worth a seed
HOPELESS = 0.05  # the chance below which a seed that is being trained is stopped
# The least chance with which several seeds of a network are trained at once, and any before there is an answer.
AT_ONCE = 0.5
MOST_CONFIRMED = 0.32  # share of all that is trained that confirmations take in the long run
ADVANCE = 4.0  # trainings that count as trained before a study begins: the first answer comes early
CONFIRMED_OF_FRONT = 5  # networks of the front that are confirmed at the end of a search without a target


@dataclass(frozen=True, slots=True)
class Seed:
    """The next seed of a confirmation."""

    trial: int
    chance: float  # of the network to meet the target
    worth: float  # what it promises for its cost
    has_begun: bool  # whether some seed of this confirmation has ended


def next_seed(beliefs: Beliefs, goal: Goal, budget: int, left_out: Collection[int] = ()) -> Seed | None:
    """Return the trial whose next seed is worth the most; None where no trial is likely enough to meet the target.

    Before there is an answer, those that are as likely as not to meet the target come before all others.

    Args:
        beliefs: all trials and confirmations.
        goal: with the confirmations that are under way.
        budget: in parameters.
        left_out: trials that are not confirmed.
    """
    found: list[Seed] = []
    started = {beliefs.network(beliefs.trials[number]).identity for number in beliefs.confirmed}
    under_way = [beliefs.trials[number] for number in goal.confirming]
    pending = {trial.number: (trial.num_params, beliefs.chance(trial, goal)) for trial in under_way}
    open_ = [
        trial
        for number, trial in sorted(beliefs.trials.items())
        if trial.fate == "completed"
        and number not in left_out
        and trial.num_params <= goal.most_useful
        and len(beliefs.confirmed.get(number, ())) < goal.num_seeds
        and (number in beliefs.confirmed or beliefs.network(trial).identity not in started)
    ]
    fresh = [trial for trial in open_ if trial.number not in beliefs.confirmed]
    chances = dict(
        zip(
            (t.number for t in fresh),
            beliefs.chances([beliefs.network(t) for t in fresh], goal) if fresh else (),
            strict=True,
        )
    )
    for trial in open_:
        number = trial.number
        seeds = goal.num_seeds - len(beliefs.confirmed.get(number, ()))
        chance = float(chances[number]) if number in chances else beliefs.chance(trial, goal)
        if chance < LIKELY:
            continue
        # Another seed of a likely network saves time, and one of another may save seeds of this.
        beside = [p for n, p in pending.items() if n != number or chance < AT_ONCE]
        gain = float(saving(np.array([trial.num_params]), goal.below, budget, beside)[0])
        worth = chance * gain / confirmation_cost(chance, trial.num_macs, seeds)
        found.append(Seed(number, chance, worth, has_begun=number in beliefs.confirmed))
    # An answer first: it is what a likely network brings soonest.
    return max(found, key=lambda s: (goal.below is None and s.chance >= AT_ONCE, s.worth), default=None)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a study has trained so far, in trainings."""

    trained: float  # by trials
    seeds: int  # of confirmations, those under way included


def comes_before_trials(seed: Seed, goal: Goal, progress: Progress, worth_of_trial: Callable[[], float]) -> bool:
    """Return whether `seed` is trained before the trial that would be next.

    Args:
        seed: what `next_seed` has returned for `goal`.
        goal: with the confirmations that are under way.
        progress: of the study.
        worth_of_trial: returns what the next trial promises for its cost, NaN where that cannot be told. It takes long
            to find, and is asked for only where it decides.
    """
    is_likely = seed.chance >= AT_ONCE
    if not leaves_room(seed, progress):
        return False
    if is_likely and goal.below is None:
        return True  # an answer first, then a smaller one
    worth = worth_of_trial()
    return is_likely if math.isnan(worth) else seed.worth >= worth


def leaves_room(seed: Seed, progress: Progress) -> bool:
    """Return whether confirmations may take `seed`, of so much that was trained in trials and confirmations.

    A likely confirmation that has begun ends first: its answer is near, and spares the trials that are no smaller.
    """
    if seed.has_begun and seed.chance >= AT_ONCE:
        return True
    confirmed = SEED_COST * progress.seeds
    return confirmed + 1 <= MOST_CONFIRMED * (progress.trained + confirmed + 1 + ADVANCE)


def is_hopeless(beliefs: Beliefs, trial: Observation, goal: Goal, accuracies: Sequence[float], epochs: int) -> bool:
    """Return whether a seed that is being trained has made it all but certain that `trial` will not meet the target.

    Args:
        beliefs: all trials and confirmations.
        trial: whose confirmation it is.
        goal: what the target is.
        accuracies: percent of the test set, one an epoch so far.
        epochs: of the whole training. It is looked at only where trials may be stopped too.
    """
    if len(accuracies) not in rungs_of(epochs):
        return False
    return beliefs.chance_under_way(trial, goal, accuracies) < HOPELESS


def next_of_front(records: Sequence[TrialRecord], left_out: Collection[int] = ()) -> TrialRecord | None:
    """Return the network of the front to confirm next, without a target; None where all that are confirmed have been.

    The most accurate comes first: it answers the study, and time may end before the others.
    """
    front = validation_front([record for record in records if record.number not in left_out])[-CONFIRMED_OF_FRONT:]
    return next((record for record in reversed(front) if record.confirmed is None), None)
