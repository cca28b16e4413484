from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.search.pruner import ParetoPruner, rungs_of


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [
        (1, ()),
        (2, (1,)),
        (3, (1, 2)),
        (6, (1, 2, 3, 4, 5)),
        (15, (3, 4, 6, 8, 9, 10, 12)),
        (20, (4, 6, 8, 10, 12, 14, 16)),
    ],
)
def test_rungs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(epochs) == rungs


def _study_with(peers: list[tuple[int, float]], rung: int) -> optuna.Study:
    study = optuna.create_study(direction="maximize")
    for num_params, accuracy in peers:
        trial = study.ask()
        trial.set_user_attr("num_params", num_params)
        trial.report(accuracy, rung)
        study.tell(trial, state=TrialState.PRUNED)
    return study


def _prunes(study: optuna.Study, num_params: int, accuracy: float, step: int) -> bool:
    trial = study.ask()
    trial.set_user_attr("num_params", num_params)
    trial.report(accuracy, step)
    frozen = study.get_trials()[trial.number]
    return ParetoPruner(epochs=15).prune(study, frozen)


LARGE = [(8000, 97.0), (7900, 96.5), (7800, 96.0), (7700, 95.5), (7600, 95.0), (7500, 94.5)]


def test_small_network_is_not_stopped_for_losing_to_large_ones() -> None:
    assert not _prunes(_study_with(LARGE, 3), 900, 80.0, 3)


def test_dominated_network_is_stopped() -> None:
    peers = [(8000, 97.0), (4000, 96.9), (2000, 96.8), (1000, 96.7), (900, 96.6)]
    assert _prunes(_study_with(peers, 3), 7900, 90.0, 3)


def test_better_half_by_rank_goes_on() -> None:
    # Ranks from 0: the two fronts (8000, 97) with (900, 90), then (8000, 96) with (950, 89); then everything else.
    peers = [(8000, 97.0), (900, 90.0), (8000, 96.0), (950, 89.0), (8000, 95.0), (960, 88.0)]
    # One network dominates the first: rank 1, and only the two of rank 0 are better, fewer than half of 7.
    assert not _prunes(_study_with(peers, 6), 8000, 96.5, 6)
    # The second has rank 2 behind the four of ranks 0 and 1.
    assert _prunes(_study_with(peers, 6), 8000, 95.5, 6)


def test_nothing_is_stopped_between_rungs_or_among_few() -> None:
    assert not _prunes(_study_with(LARGE, 5), 8000, 10.0, 5)
    assert not _prunes(_study_with(LARGE[:3], 3), 8000, 10.0, 3)


def test_one_bad_epoch_does_not_stop_a_good_trial() -> None:
    study = _study_with(LARGE, 3)
    trial = study.ask()
    trial.set_user_attr("num_params", 7950)
    trial.report(97.5, 2)
    trial.report(60.0, 3)
    assert not ParetoPruner(epochs=15).prune(study, study.get_trials()[trial.number])


def _study_that_completed(trials: list[tuple[int, float, float]]) -> optuna.Study:
    """Of (parameters, accuracy at epoch 3, final accuracy)."""
    study = optuna.create_study(direction="maximize")
    for num_params, at_rung, final in trials:
        trial = study.ask()
        trial.set_user_attr("num_params", num_params)
        trial.report(at_rung, 3)
        study.tell(trial, final)
    return study


# Each ends with half the error that it has at the rung, within a tenth; the larger the better.
HALVING = [
    (num_params, 100 - error, 100 - error * factor)
    for num_params, error, factor in zip(
        range(1000, 9000, 1000),
        (16.0, 12.0, 9.0, 7.0, 5.0, 4.0, 3.0, 2.5),
        (0.5, 0.55, 0.45, 0.5, 0.55, 0.45, 0.5, 0.5),
        strict=True,
    )
]


@pytest.mark.parametrize(("num_params", "error", "stops"), [
    (8500, 2.4, False),  # better than the best of its size
    (8500, 2.8, False),  # within the doubt
    (8500, 3.5, True),  # the better half of all, but not going to beat the network of 8,000
    (5500, 3.5, False),  # at this size it would
    (1500, 30.0, True),
    (900, 60.0, False),  # smaller than all: nothing to beat
])  # fmt: skip
def test_trial_stops_where_it_is_predicted_to_stay_below_the_front(num_params: int, error: float, stops: bool) -> None:
    assert _prunes(_study_that_completed(HALVING), num_params, 100 - error, 3) is stops


def test_worse_witness_leaves_more_doubt() -> None:
    wild = [(n, a, 100 - (100 - f) * w) for (n, a, f), w in zip(HALVING, (0.5, 2, 0.5, 2, 0.5, 2, 0.5, 1), strict=True)]
    assert not _prunes(_study_that_completed(wild), 8500, 96.5, 3)


@pytest.mark.parametrize(("power", "error", "stops"), [
    (2.0, 2.9, True),  # a little worse at the rung is a lot worse at the end
    (0.02, 6.0, False),  # much worse at the rung is hardly worse at the end
])  # fmt: skip
def test_how_much_the_rung_tells_of_the_end_is_learnt(power: float, error: float, stops: bool) -> None:
    luck = (1.03, 0.97, 1.02, 0.98, 1.01, 0.99, 1.02, 0.98)
    ended = [(n, a, 100 - 0.02 * (100 - a) ** power * x) for (n, a, _), x in zip(HALVING, luck, strict=True)]
    assert _prunes(_study_that_completed(ended), 8500, 100 - error, 3) is stops


def test_rung_that_tells_nothing_apart_stops_nothing() -> None:
    same = [(num_params, 90.0, final) for num_params, _, final in HALVING]
    assert not _prunes(_study_that_completed(same), 8500, 90.0, 3)


def test_small_network_that_completed_is_not_beaten_by_larger_ones() -> None:
    assert not _prunes(_study_that_completed(HALVING), 1000, 84.0, 3)


@pytest.mark.parametrize(("rate", "stops"), [(0.001, False), (0.1, True)])
def test_slow_starter_is_known_by_its_genes(rate: float, stops: bool) -> None:
    """A low learning rate ends as well as a high one, and stands at 80 % where that stands at 90 %."""
    study = optuna.create_study(direction="maximize")
    genes = {"rate": optuna.distributions.FloatDistribution(0.001, 0.1, log=True)}
    for number in range(16):
        low, luck = number % 2 == 0, number // 2 % 4
        study.enqueue_trial({"rate": 0.001 if low else 0.1})
        trial = study.ask(genes)
        trial.set_user_attr("num_params", 1000)
        trial.report((80.0 if low else 90.0) + 2 * luck, 3)
        study.tell(trial, 92.0 + luck)
    study.enqueue_trial({"rate": rate})
    trial = study.ask(genes)
    trial.set_user_attr("num_params", 1000)
    trial.report(88.0, 3)
    assert ParetoPruner(epochs=15).prune(study, study.get_trials()[trial.number]) is stops
