"""A study's history, read as it grows."""

from __future__ import annotations

import random

import optuna
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from nas.strategy.history import History


@given(st.lists(st.sampled_from(["ask", "tell", "read"])), st.randoms(use_true_random=False))
def test_each_finished_trial_is_given_once_and_the_others_always(steps: list[str], rng: random.Random) -> None:
    study, history = optuna.create_study(), History()
    running: list[optuna.Trial] = []
    given_finished: list[int] = []
    for step in [*steps, "read"]:
        if step == "ask":
            running.append(study.ask())
        elif step == "tell" and running:
            study.tell(running.pop(rng.randrange(len(running))), 1.0)
        elif step == "read":
            unread = history.unread(study)
            assert [t.number for t in unread] == sorted(t.number for t in unread)
            assert {t.number for t in unread if t.state == TrialState.RUNNING} == {t.number for t in running}
            given_finished += [t.number for t in unread if t.state == TrialState.COMPLETE]
    finished = {t.number for t in study.trials if t.state == TrialState.COMPLETE}
    assert sorted(given_finished) == sorted(finished)
