from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from nas.report.front_svg import front_svg
from nas.study.answer import answer_text
from nas.study.front import front_records
from nas.study.landmarks import references
from nas.study.records import Confirmation, TrialRecord
from nas.study.settings import StudySettings
from nas.study.tables import front_table, front_text, test_set_note, trials_table

test_set_note.__test__ = False  # type: ignore[attr-defined]  # a function of ours, no test


def trial(
    number: int, num_params: int, validation: float, tests: tuple[float, ...] = (), fate: str = "completed"
) -> TrialRecord:
    return TrialRecord(
        number=number,
        fate=fate,  # type: ignore[arg-type]
        num_params=num_params,
        num_macs=100 * num_params,
        peak_activation_bytes=1000,
        digest=f"{number:016x}",
        genes={"stage1.width": 8},
        seed=number,
        validation_curve=(validation,) * 3,
        train_seconds=10.0,
        confirmations=tuple(Confirmation(s, (t, t, t), 20.0) for s, t in enumerate(tests)),
    )


RECORDS = [
    trial(0, 1000, 98.0),
    trial(1, 3000, 99.1, (99.35, 99.37, 99.36)),
    trial(2, 4000, 99.2, (99.41, 99.45, 99.46)),
    trial(3, 5000, 99.0, fate="stopped"),
    trial(4, 6000, 99.15, (99.40, 99.42, 99.44)),
]


def test_front_holds_the_confirmed_and_what_is_not_yet() -> None:
    # Trial 4 is beaten by trial 2 on both; trial 3 was stopped early.
    assert [r.number for r in front_records(RECORDS)] == [0, 1, 2]
    table = front_table(RECORDS, 99.4)
    assert list(table["seeds"]) == [0, 3, 3]
    assert table["test_accuracy"].isna().tolist() == [True, False, False]
    assert table["test_accuracy"].iloc[2] == pytest.approx(99.44)
    assert table["consistent"].iloc[1] is False or not table["consistent"].iloc[1]
    assert bool(table["consistent"].iloc[2])


def test_front_text_says_what_is_not_confirmed_and_shows_the_references() -> None:
    text = front_text(RECORDS, 99.4, references("mnist"))
    assert "1,000            not confirmed" in text
    assert "99.44 ± 0.03" in text
    assert "003 model 3" in text
    assert "7,788" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_answer_in_one_sentence() -> None:
    assert answer_text(RECORDS, StudySettings(8000, target=99.4)) == (
        "4,000 parameters reach 99.44 % ± 0.03 on the test set (3 seeds, mean of the last 3 epochs, in every one of "
        "the last 3 epochs of every seed): the target of 99.4 % is met within 8,000 by trial 2."
    )
    assert answer_text(RECORDS, StudySettings(8000, target=99.6)).startswith(
        "The target of 99.6 % is not confirmed within 8,000 parameters; the best is trial 2: 4,000 parameters reach"
    )
    assert answer_text(RECORDS, StudySettings(8000)) == (
        "4,000 parameters reach 99.44 % ± 0.03 on the test set (3 of 3 seeds): trial 2 is the most accurate in "
        "validation within 8,000."
    )
    assert "nothing came near enough to confirm" in answer_text(RECORDS[:1], StudySettings(8000, target=99.4))
    assert answer_text([], StudySettings(8000, target=99.4)) == "No trial within 8,000 parameters has completed yet."


def test_two_seeds_of_three_do_not_meet_a_target() -> None:
    assert "not confirmed" in answer_text([trial(0, 1000, 99.4, (99.9, 99.9))], StudySettings(8000, target=99.4))


def test_test_set_note_counts_readings_and_what_choosing_does() -> None:
    assert test_set_note(RECORDS[:1]) == "The test set was not read."
    note = test_set_note(RECORDS)
    assert "after 9 trainings of 3 networks" in note
    # Blom: the expected largest of 3 normals is 0.85 standard deviations; the mean spread is 0.019, over 3 seeds.
    assert "flatters itself by up to about 0.01 points" in note
    assert "difference below about 0.05 points" in note  # 2 * sqrt(2) * 0.019
    alone = test_set_note([trial(0, 1000, 99.0, (99.0,))])  # one seed has no spread
    assert "after 1 training of 1 network. With one seed each" in alone
    assert "10,000 images at 99.4 %" in alone


def test_trials_table_has_a_row_a_trial_and_a_column_a_gene() -> None:
    table = trials_table(RECORDS)
    assert list(table["trial"]) == [0, 1, 2, 3, 4]
    assert list(table["stage1.width"]) == [8] * 5


def test_bytes_are_whole_numbers_where_some_trials_have_none() -> None:
    records = [replace(RECORDS[0], flash_bytes=9_876, ram_bytes=5_432), *RECORDS[1:]]
    for table in (trials_table(records), front_table(records)):
        lines = table.to_csv(index=False, columns=["flash_bytes", "ram_bytes"]).splitlines()
        assert lines[1:3] == ["9876,5432", ","]


@pytest.mark.parametrize("records", [RECORDS, RECORDS[:1], []])
@pytest.mark.parametrize("target", [99.4, None])
def test_picture_is_valid_xml_with_a_mark_for_each_network(records: list[TrialRecord], target: float | None) -> None:
    svg = ElementTree.fromstring(front_svg(records, StudySettings(8000, target=target)))
    texts = [t.text or "" for t in svg.iter("{http://www.w3.org/2000/svg}title")]
    for record in records:
        if record.confirmed:
            assert any(f"trial {record.number}:" in t and "test" in t for t in texts)
    assert any("003 model 3: 7,788 parameters (7,788 deployed), best epoch 99.45 %" in t for t in texts)


def test_seven_references_by_size() -> None:
    assert [r.num_params for r in references("mnist")] == [7788, 9596, 9746, 9914, 10876, 19122, 26314]
    assert references("cifar10") == []
