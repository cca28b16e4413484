"""One answer: what the sentence names, what is exported, and whether the target is met, from any trials."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.costs import Count
from nas.study.answer import answer_text, best_record, is_target_met, meets_target, smallest_met
from nas.study.comparison import ComparedStudy, with_one_count
from nas.study.front import confirmed_front, front_records, validation_front
from nas.study.records import Confirmation, Fate, TrialRecord
from nas.study.settings import StudySettings

# Few values, so that ties are common, as on small test sets.
_ACCURACIES = st.sampled_from([90.0, 98.0, 99.0])


@st.composite
def trials(draw: st.DrawFn) -> list[TrialRecord]:
    records = []
    for number in range(draw(st.integers(0, 6))):
        fate: Fate = draw(st.sampled_from(["completed", "completed", "stopped", "failed"]))
        confirmed = draw(st.lists(_ACCURACIES, max_size=3)) if fate == "completed" else []
        records.append(
            TrialRecord(
                number=number,
                fate=fate,
                num_params=draw(st.sampled_from([500, 700, 900])),
                num_macs=0,
                peak_activation_bytes=0,
                digest=f"digest{number}",
                genes={},
                seed=0,
                validation_curve=(draw(_ACCURACIES),) * 3,
                train_seconds=1.0,
                confirmations=tuple(Confirmation(i, (a,) * 3, 1.0, i) for i, a in enumerate(confirmed)),
            )
        )
    return records


@given(trials(), st.sampled_from([None, 98.0, 99.5]), st.integers(1, 3))
def test_the_sentence_names_the_trial_that_answers(
    records: list[TrialRecord], target: float | None, num_seeds: int
) -> None:
    settings = StudySettings(1000, target=target, num_seeds=num_seeds)
    best, text = best_record(records, settings), answer_text(records, settings)
    if best is None:
        assert all(r.fate != "completed" for r in records)
        assert "No trial" in text
        return
    assert re.findall(r"trial (\d+)", text) == [str(best.number)]
    assert f"{best.num_params} parameters" in text
    met = target is not None and is_target_met(records, settings)
    assert ("is met" in text) == met
    if met:
        assert best == smallest_met(records, settings)


@given(trials(), st.integers(1, 3))
def test_what_met_the_target_is_the_smallest_that_did(records: list[TrialRecord], num_seeds: int) -> None:
    settings = StudySettings(1000, target=98.0, num_seeds=num_seeds)
    sizes = [r.num_params for r in records if r.confirmed and meets_target(r.confirmed, settings)]
    met = smallest_met(records, settings)
    assert (met.num_params if met else None) == min(sizes, default=None)


@given(trials())
def test_without_a_target_the_most_accurate_in_validation_answers(records: list[TrialRecord]) -> None:
    """Whatever was confirmed: the smallest of the front may be the first that was, or the only one."""
    settings = StudySettings(1000, num_seeds=1)
    completed = [r for r in records if r.fate == "completed"]
    best = best_record(records, settings)
    if not completed:
        return
    assert best is not None
    assert best.validation_accuracy == max(r.validation_accuracy for r in completed)
    text = answer_text(records, settings)
    assert ("in validation (trial" in text) == (best.confirmed is None)
    assert ("not confirmed on the test set yet" in text) == (best.confirmed is None)


@pytest.mark.parametrize(("epochs", "text"), [(1, "mean of the last epoch"), (2, "the last 2 epochs"), (9, "3 epochs")])
def test_what_a_figure_is_the_mean_of_is_said_as_it_is(epochs: int, text: str) -> None:
    seeds = (Confirmation(0, (98.0,) * epochs, 1.0),)
    record = TrialRecord(0, "completed", 500, 0, 0, "", {}, 0, (98.0,) * epochs, 1.0, confirmations=seeds)
    answer = answer_text([record], StudySettings(1000, target=97.0, num_seeds=1))
    assert text in answer
    assert "(1 seed, " in answer
    assert "±" not in answer


@pytest.mark.parametrize("sizes", [(900, 500), (500, 900)])
def test_of_equally_accurate_networks_the_smallest_answers(sizes: tuple[int, int]) -> None:
    records = [
        TrialRecord(
            n, "completed", size, 0, 0, f"d{n}", {}, 0, (98.0,), 1.0, confirmations=(Confirmation(0, (98.0,), 1.0),)
        )
        for n, size in enumerate(sizes)
    ]
    settings = StudySettings(1000, num_seeds=1)
    assert best_record(records, settings) == records[sizes.index(500)]
    assert answer_text(records, settings).startswith("500 parameters reach 98.00 %")


@pytest.mark.parametrize(("count", "answers"), [("trained", 0), ("deployed", 1)])
def test_the_answer_goes_by_what_the_study_counts(count: Count, answers: int) -> None:
    """The first network has fewer parameters to train, the second one fewer to deploy."""
    seeds = (Confirmation(0, (98.0,), 1.0),)
    records = [
        TrialRecord(
            n, "completed", trained, 0, 0, f"d{n}", {}, 0, (98.0,), 1.0,
            deployed_params=deployed, count=count, confirmations=seeds,
        )
        for n, (trained, deployed) in enumerate([(500, 490), (510, 480)])
    ]  # fmt: skip
    for target in (None, 97.0):
        settings = StudySettings(1000, count=count, target=target, num_seeds=1)
        assert best_record(records, settings) == records[answers]
        text = {"trained": "500 parameters (490 deployed)", "deployed": "480 parameters deployed (510 trained)"}[count]
        assert answer_text(records, settings).startswith(f"{text} reach 98.00 %")
    assert confirmed_front(records) == validation_front(records) == front_records(records) == [records[answers]]
    settings = StudySettings(1000, count=count, target=99.0)
    unit = {"trained": "parameters", "deployed": "parameters deployed"}[count]
    assert answer_text(records, settings).startswith(f"The target of 99 % is not confirmed within 1,000 {unit}")


def test_studies_that_count_otherwise_are_compared_by_what_is_trained() -> None:
    record = TrialRecord(0, "completed", 500, 0, 0, "d", {}, 0, (98.0,), 1.0, deployed_params=490, count="deployed")
    deployed = ComparedStudy("a", StudySettings(1000, count="deployed"), [record])
    trained = ComparedStudy("b", StudySettings(1000), [replace(record, count="trained", deployed_params=None)])
    assert [r.size for study in with_one_count([deployed, trained]) for r in study.records] == [500, 500]
    assert [r.size for study in with_one_count([deployed, deployed]) for r in study.records] == [490, 490]
