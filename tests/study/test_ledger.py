from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from made_up_studies import made_up_records
from scipy.stats import spearmanr

from nas.report.rank_correlation import MIN_TRIALS, rank_correlations
from nas.study.ledger import DrawCounts, count_draws, fates, seconds_by_fate, warm_started
from nas.study.records import Confirmation, TrialRecord

RECORDS = made_up_records(200)


def _plain(number: int, fate: str = "completed", **changes: object) -> TrialRecord:
    whole = TrialRecord(number, "completed", 100, 1, 1, f"{number}", {}, 0, (50.0, 60.0), 10.0)
    return replace(whole, fate=fate, **changes)  # type: ignore[arg-type]


def test_trials_and_seconds_by_fate() -> None:
    confirmations = (Confirmation(1, (60.0,), 20.0), Confirmation(2, (60.0,), 25.0))
    records = [_plain(0, confirmations=confirmations), _plain(1), _plain(2, "stopped", train_seconds=3.0)]
    assert fates(records) == {"completed": 2, "stopped": 1}
    assert seconds_by_fate(records) == {"completed": 20.0, "stopped": 3.0, "confirmed": 45.0}


def test_candidates_by_what_became_of_them() -> None:
    records = [
        _plain(0, redrawn=3, over_budget=2, repaired=True),
        _plain(1, redrawn=1, over_budget=1, repeated=4),
        _plain(2, "duplicate"),
    ]
    assert count_draws(records) == DrawCounts(redrawn=4, over_budget=3, repaired=1, repeated=4, duplicates=1)
    assert str(count_draws(records)) == (
        "4 drawn again for their size, 1 repaired (3 draws exceeded the budget), 4 passed over as tried before, "
        "1 took the result of their twin"
    )


def test_what_a_warm_start_gave() -> None:
    records = [_plain(0, origin="reference 001"), _plain(1, origin="trial 3 of first"), _plain(2)]
    assert warm_started(records, records[1:], records[1]) == (2, 1, True)
    assert str(warm_started(records, records[1:], records[2])) == (
        "2 known networks taken over, 1 of them on the front; the answer is none of them"
    )
    assert warm_started(records[2:], records[2:], records[2]) is None


def test_rank_correlation_is_spearmans() -> None:
    completed = [r for r in RECORDS if r.fate == "completed"]
    # Coarse, so that ties have to share their ranks.
    coarse = [replace(r, validation_curve=tuple(round(a) for a in r.validation_curve)) for r in completed]
    # Out of order, so that the best so far is not the last.
    rng = random.Random(0)
    restless = [replace(r, validation_curve=tuple(rng.sample(r.validation_curve, 15))) for r in completed]
    for records in (completed, coarse, restless):
        found = rank_correlations([*records, *(r for r in RECORDS if r.fate != "completed")], (3, 6, 15))
        assert [(c.epoch, c.trials) for c in found] == [(3, len(records)), (6, len(records))]  # 15 is the end itself
        for correlation in found:
            best = [max(r.validation_curve[: correlation.epoch]) for r in records]
            end = [np.mean(r.validation_curve[-3:]) for r in records]
            assert correlation.spearman == pytest.approx(spearmanr(best, end).statistic, abs=1e-3)


def test_too_few_or_equal_trials_have_no_correlation() -> None:
    completed = [r for r in RECORDS if r.fate == "completed"]
    assert rank_correlations(completed[: MIN_TRIALS - 1], (3,)) == []
    assert len(rank_correlations(completed[:MIN_TRIALS], (3,))) == 1
    assert rank_correlations([_plain(n, validation_curve=(50.0,) * 9) for n in range(9)], (3,)) == []
