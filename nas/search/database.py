"""Optuna's database of trials, made cheaper where a coordinator is busy with it.

With 5,000 trials and 16 workers, Optuna's own statements took a quarter of a core. What is in the tables afterwards is
the same; a test compares it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Table, select
from sqlalchemy.orm import Session


class Database(RDBStorage):
    """An `RDBStorage` that finds a trial by its number, begins one and writes to one in few statements."""

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Optuna looks at every trial of the study. An id is larger than the trial's number: few are left with that."""
        trials = models.TrialModel.__table__.c
        query = select(trials.trial_id).where(
            trials.trial_id > trial_number, trials.study_id == study_id, trials.number == trial_number
        )
        with self.engine.connect() as connection:
            found: int | None = connection.execute(query).scalar()
        if found is None:
            raise KeyError(f"study {study_id} has no trial {trial_number}")
        return found

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As Optuna's, without its objects for rows; so are the next two."""
        model = models.TrialIntermediateValueModel
        value, kind = model.intermediate_value_to_stored_repr(intermediate_value)
        row = {"intermediate_value": value, "intermediate_value_type": kind}
        with self._changing(trial_id) as connection:
            _set(connection, model.__table__, {"trial_id": trial_id, "step": step}, row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """One attribute of a trial that has not finished."""
        table = models.TrialUserAttributeModel.__table__
        with self._changing(trial_id) as connection:
            _set(connection, table, {"trial_id": trial_id, "key": key}, {"value_json": json.dumps(value)})

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """The end of a trial; whatever else becomes of one is rare, and left to Optuna."""
        if not state.is_finished():
            return super().set_trial_state_values(trial_id, state, values)
        trials, model = models.TrialModel.__table__, models.TrialValueModel
        with self._changing(trial_id) as connection:
            for objective, number in enumerate(values or ()):
                value, kind = model.value_to_stored_repr(number)
                place = {"trial_id": trial_id, "objective": objective}
                _set(connection, model.__table__, place, {"value": value, "value_type": kind})
            now = datetime.now(UTC).replace(tzinfo=None)
            connection.execute(
                trials.update().where(trials.c.trial_id == trial_id).values(state=state, datetime_complete=now)
            )
        return True

    @contextmanager
    def _changing(self, trial_id: int) -> Iterator[Connection]:
        """A transaction on a trial that has not finished."""
        trials = models.TrialModel.__table__.c
        with self.engine.begin() as connection:
            state = connection.execute(select(trials.state).where(trials.trial_id == trial_id)).scalar_one()
            self.check_trial_is_updatable(trial_id, state)
            yield connection

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> models.TrialModel:
        if template_trial is None:
            return super()._get_prepared_new_trial(study_id, None, session)
        # Optuna writes every parameter and attribute by two or three statements of its own, a hundred and more a trial.
        bare = copy.copy(template_trial)
        bare.params, bare.user_attrs = {}, {}
        trial = super()._get_prepared_new_trial(study_id, bare, session)
        params = [
            {
                "trial_id": trial.trial_id,
                "param_name": name,
                "param_value": distribution.to_internal_repr(template_trial.params[name]),
                "distribution_json": distribution_to_json(distribution),
            }
            for name, distribution in template_trial.distributions.items()
        ]
        attributes = [
            {"trial_id": trial.trial_id, "key": key, "value_json": json.dumps(value)}
            for key, value in template_trial.user_attrs.items()
        ]
        if params:
            session.execute(models.TrialParamModel.__table__.insert(), params)
        if attributes:
            session.execute(models.TrialUserAttributeModel.__table__.insert(), attributes)
        return trial


def _set(connection: Connection, table: Table, place: dict[str, Any], row: dict[str, Any]) -> None:
    """Changes the row at `place`, or makes it."""
    there = [table.c[name] == value for name, value in place.items()]
    if not connection.execute(table.update().where(*there).values(row)).rowcount:
        connection.execute(table.insert().values(place | row))
