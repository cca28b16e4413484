from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from nas.search.pruner import ParetoPruner, rungs_of


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, ()), (2, (1,)), (3, (1, 2)), (6, (1, 2, 4)), (15, (3, 6, 10)), (20, (4, 8, 13))]
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
    assert not _prunes(_study_with(LARGE, 4), 8000, 10.0, 4)
    assert not _prunes(_study_with(LARGE[:3], 3), 8000, 10.0, 3)


def test_one_bad_epoch_does_not_stop_a_good_trial() -> None:
    study = _study_with(LARGE, 3)
    trial = study.ask()
    trial.set_user_attr("num_params", 7950)
    trial.report(97.5, 2)
    trial.report(60.0, 3)
    assert not ParetoPruner(epochs=15).prune(study, study.get_trials()[trial.number])
