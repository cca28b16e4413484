from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest

from nas.space import Choice, Domain, FloatRange, Genes
from nas.strategy.observations import Observation
from nas.strategy.stopping import BEYOND, StoppingRule, expected_gain, rungs_of


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [
        (1, ()),
        (2, (1,)),
        (6, (1, 2, 3, 4, 5)),
        (20, tuple(range(1, 20))),
        (100, tuple(range(5, 100, 5))),
    ],
)
def test_rungs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(epochs) == rungs


def _trial(num_params: int, curve: Sequence[float], final: float | None = None, genes: Genes = {}) -> Observation:  # noqa: B006
    """A trial by its accuracy after each epoch, running unless it has an end."""
    return Observation(0, genes, num_params, "", "running" if final is None else "completed", tuple(curve), final)


def _rule_of(trials: Sequence[Observation], epochs: int = 2, genes: Mapping[str, Domain] = {}) -> StoppingRule:
    rule = StoppingRule(genes, epochs)
    for trial in trials:
        rule.learn(trial)
    return rule


def _rule(trials: Sequence[tuple[int, float, float]], epochs: int = 2) -> StoppingRule:
    """What is learned of completed (parameters, accuracy after the first of two epochs, final accuracy)."""
    return _rule_of([_trial(num_params, [first], final) for num_params, first, final in trials], epochs)


# Each ends with half the error that it has after the first epoch, within a tenth; the larger the better.
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
    (8500, 3.0, False),  # within the doubt
    (8500, 4.5, True),  # better than most, but not going to beat the network of 8,000
    (5500, 4.5, False),  # at this size it would
    (1500, 50.0, True),
    (900, 60.0, False),  # smaller than all: nothing to beat
])  # fmt: skip
def test_trial_stops_where_it_is_predicted_to_stay_below_the_front(num_params: int, error: float, stops: bool) -> None:
    assert _rule(HALVING).stops(_trial(num_params, [100 - error])) is stops


def test_the_fewer_have_completed_the_more_is_doubted() -> None:
    """The same trial, the larger networks being there in any case."""
    assert _rule(HALVING).stops(_trial(8500, [95.0]))
    assert not _rule(HALVING[3:]).stops(_trial(8500, [95.0]))
    assert not _rule(HALVING[6:]).stops(_trial(8500, [10.0]))
    assert not _rule([]).stops(_trial(8500, [10.0]))


def test_nothing_is_stopped_after_the_last_epoch_beyond_it_or_between_rungs() -> None:
    assert not any(_rule(HALVING).stops(_trial(8500, [10.0] * epochs)) for epochs in range(2, 5))
    assert not _rule(HALVING, epochs=40).stops(_trial(8500, [10.0]))


def test_reports_beyond_the_last_epoch_are_learned_from_up_to_it() -> None:
    longer = _rule_of([_trial(n, [first, final, 99.9], final) for n, first, final in HALVING])
    for error in (2.0, 3.0, 3.5, 4.0, 4.5):
        trial = _trial(8500, [100 - error])
        assert longer.stops(trial) == _rule(HALVING).stops(trial)


def test_a_completed_trial_that_reported_too_few_epochs_says_nothing_of_the_epochs_it_lacks() -> None:
    """Its final accuracy may be on the front (here it is not), but is no point of its curve."""
    whole = [_trial(n, [first, (first + final) / 2, final], final) for n, first, final in HALVING]
    short = [_trial(9000, [97.0], 60.0)] * 8
    for error in (2.0, 3.0, 4.0, 6.0):
        trial = _trial(8500, [100 - error])
        assert _rule_of([*whole, *short], 4).stops(trial) == _rule_of(whole, 4).stops(trial)


def test_one_bad_epoch_does_not_stop_a_good_trial() -> None:
    rule = _rule_of([_trial(n, [first, (first + final) / 2], final) for n, first, final in HALVING], epochs=3)
    assert rule.stops(_trial(8500, [60.0, 60.0]))
    assert not rule.stops(_trial(8500, [97.6, 60.0]))


def test_worse_witness_leaves_more_doubt() -> None:
    wild = [(n, a, 100 - (100 - f) * w) for (n, a, f), w in zip(HALVING, (0.5, 2, 0.5, 2, 0.5, 2, 0.5, 1), strict=True)]
    assert not _rule(wild).stops(_trial(8500, [95.5]))


@pytest.mark.parametrize(("power", "error", "stops"), [
    (2.0, 4.0, True),  # a little worse after the first epoch is a lot worse at the end
    (0.02, 5.0, False),  # much worse after it is hardly worse at the end
])  # fmt: skip
def test_how_much_the_first_epoch_tells_of_the_end_is_learned(power: float, error: float, stops: bool) -> None:
    luck = (1.03, 0.97, 1.02, 0.98, 1.01, 0.99, 1.02, 0.98)
    ended = [(n, a, 100 - 0.02 * (100 - a) ** power * x) for (n, a, _), x in zip(HALVING, luck, strict=True)]
    assert _rule(ended).stops(_trial(8500, [100 - error])) is stops


def test_epoch_that_tells_nothing_apart_stops_nothing() -> None:
    same = [(num_params, 90.0, final) for num_params, _, final in HALVING]
    assert not _rule(same).stops(_trial(8500, [90.0]))


def test_small_network_that_completed_is_not_beaten_by_larger_ones() -> None:
    assert not _rule(HALVING).stops(_trial(1000, [84.0]))


@pytest.mark.parametrize(("rate", "stops"), [(0.001, False), (0.1, True)])
def test_slow_starter_is_known_by_its_genes(rate: float, stops: bool) -> None:
    """A low learning rate ends as well as a high one, and stands at 80 % where that stands at 90 %."""
    trials = []
    for number in range(16):
        low, luck, small = number % 2 == 0, number // 2 % 4, number // 8 == 0
        first = (80.0 if low else 90.0) + 2 * luck - 2 * small
        genes = {"rate": 0.001 if low else 0.1}
        trials.append(_trial(500 if small else 1000, [first], 92.0 + luck - 2 * small, genes))
    rule = _rule_of(trials, genes={"rate": FloatRange(0.001, 0.1, log=True)})
    assert rule.stops(_trial(1000, [87.0], genes={"rate": rate})) is stops


def test_stopped_trials_are_learned_from() -> None:
    """What stands still in its second epoch ends badly; that one kind mostly does, only stopped trials have shown."""
    rule = StoppingRule({"kind": Choice(("plain", "still"))}, epochs=3)
    trial = _trial(8500, [96.85], genes={"kind": "still"})
    for kind, (num_params, first, final) in zip(("plain", "still") * 4, HALVING, strict=True):
        rule.learn(_trial(num_params, [first, (first + 3 * final) / 4], final, {"kind": kind}))
    assert not rule.stops(trial)
    for num_params, first, _ in HALVING * 3:
        rule.learn(Observation(0, {"kind": "still"}, num_params, "", "stopped", (first, first + 0.1)))
    assert rule.stops(trial)


# Accuracies of a half and of three quarters, in log-odds; the slope of the first is a quarter.
FRONT = [(1000.0, 0.0), (2000.0, math.log(3))]
HYPERVOLUME = math.log(BEYOND) * (0.75 - 0.5)


def test_gain_that_is_certain_is_the_area_between_the_network_and_the_front() -> None:
    until_the_next = math.log(2000 / 1500) * 0.4 * 0.25
    assert expected_gain(FRONT, 1500, 0.4, 1e-9) == pytest.approx(until_the_next / HYPERVOLUME)
    beyond_it = math.log(BEYOND) * 0.1 * (0.75 * 0.25)
    assert expected_gain(FRONT, 2000, math.log(3) + 0.1, 1e-9) == pytest.approx(beyond_it / HYPERVOLUME)
    over_both = math.log(2000 / 1500) * (math.log(3) + 0.1) * 0.25 + beyond_it
    assert expected_gain(FRONT, 1500, math.log(3) + 0.1, 1e-9) == pytest.approx(over_both / HYPERVOLUME)
    assert expected_gain(FRONT, 1500, -0.4, 1e-9) == pytest.approx(0.0)


def test_gain_of_the_largest_reaches_beyond_the_front() -> None:
    widest = math.log(BEYOND) * 0.1 * (0.75 * 0.25)
    longer = math.log(BEYOND * 4000 / 2000) * (0.75 - 0.5)
    assert expected_gain(FRONT, 4000, math.log(3) + 0.1, 1e-9) == pytest.approx(widest / longer)


def test_gain_that_is_in_doubt_is_an_expectation() -> None:
    """As far as the front, it rises by half the mean distance from the mean; far below, by next to nothing."""
    mean_rise = 0.2 / math.sqrt(2 * math.pi)
    far = [(1000.0, 0.0), (2000.0, 50.0)]  # out of reach
    certain = expected_gain(far, 1500, 1.0, 1e-9)
    assert expected_gain(far, 1500, 0.0, 0.2) / certain == pytest.approx(mean_rise)
    assert 0 < expected_gain(far, 1500, -1.0, 0.2) / certain < 1e-6
    assert expected_gain(FRONT, 1500, -1.0, math.inf) == math.inf


def test_a_single_network_is_no_measure_of_gain() -> None:
    assert expected_gain(FRONT[:1], 1500, -100.0, 0.1) == math.inf


def test_the_nearer_to_its_end_the_less_a_trial_has_to_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.strategy.stopping.expected_gain", lambda *prediction: 0.3)
    rule = StoppingRule({}, epochs=5, stake=1.0)
    for num_params, first, final in HALVING:
        rule.learn(_trial(num_params, [first] * 4, final))
    assert rule.stops(_trial(8500, [90.0]))  # 0.8 of the training is left
    assert not rule.stops(_trial(8500, [90.0] * 4))  # 0.2
