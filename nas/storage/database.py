"""Optuna's database of trials, made cheaper where a coordinator is busy with it.

With 5,000 trials and 16 workers, Optuna's own statements took a quarter of a core. What is in the tables afterwards is
the same; a test compares it.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Executable, UniqueConstraint, bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite

_TRIALS: Any = models.TrialModel.__table__
_STATE = select(_TRIALS.c.state).where(_TRIALS.c.trial_id == bindparam("id"))
_NUMBERED = select(_TRIALS.c.trial_id).where(
    # Optuna looks at every trial of the study. An id is larger than the trial's number: few are left with that.
    _TRIALS.c.trial_id > bindparam("number"),
    _TRIALS.c.study_id == bindparam("study"),
    _TRIALS.c.number == bindparam("number"),
)
_LAST_NUMBER = (
    select(_TRIALS.c.number)
    .where(_TRIALS.c.study_id == bindparam("study"), _TRIALS.c.trial_id < bindparam("id"))
    .order_by(_TRIALS.c.trial_id.desc())
    .limit(1)
)
_STUDIES: Any = models.StudyModel.__table__
# Locks the study where the database can, as Optuna does: whoever comes next counts the trial that is made.
_LOCKED = select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == bindparam("study")).with_for_update()


@functools.cache
def _upsert(dialect: str, model: type[Any]) -> Executable:
    """Makes a row of `model`, or changes the one that there is at its place: a trial, and what else it is unique by."""
    table = model.__table__
    row: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](table)
    (unique,) = (c for c in table.constraints if isinstance(c, UniqueConstraint))
    others = [c.name for c in table.columns if not c.primary_key and c.name not in unique.columns]
    change = {name: row.excluded[name] for name in others}
    upsert: Executable = row.on_conflict_do_update(index_elements=list(unique.columns), set_=change)
    return upsert


class Database(RDBStorage):
    """An `RDBStorage` that finds a trial by its number, begins one and writes to one in few statements."""

    _connection: Connection | None = None  # of `at_once`, within its body

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """The trial's id."""
        with self.engine.connect() as connection:
            found: int | None = connection.execute(_NUMBERED, {"study": study_id, "number": trial_number}).scalar()
        if found is None:
            raise KeyError(f"study {study_id} has no trial {trial_number}")
        return found

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """As Optuna's, without its objects for rows; so are the next two."""
        model = models.TrialIntermediateValueModel
        value, kind = model.intermediate_value_to_stored_repr(intermediate_value)
        row = {"trial_id": trial_id, "step": step, "intermediate_value": value, "intermediate_value_type": kind}
        with self._changing(trial_id) as connection:
            connection.execute(_upsert(self.engine.name, model), row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """One attribute of a trial that has not finished."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        with self._changing(trial_id) as connection:
            connection.execute(_upsert(self.engine.name, models.TrialUserAttributeModel), row)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """A trial's state and values; whether they were changed: a trial that runs cannot be begun."""
        model = models.TrialValueModel
        change, now = _TRIALS.update().where(_TRIALS.c.trial_id == trial_id).values(state=state), _utc(datetime.now())
        if state.is_finished():
            change = change.values(datetime_complete=now)
        elif state == TrialState.RUNNING:
            change = change.values(datetime_start=now).where(_TRIALS.c.state == TrialState.WAITING)
        with self._changing(trial_id) as connection:
            for objective, number in enumerate(values or ()):
                value, kind = model.value_to_stored_repr(number)
                row = {"trial_id": trial_id, "objective": objective, "value": value, "value_type": kind}
                connection.execute(_upsert(self.engine.name, model), row)
            return bool(connection.execute(change).rowcount)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """What the body writes to trials is one transaction: all of it is kept, or nothing."""
        with self.engine.begin() as self._connection:
            try:
                yield
            finally:
                self._connection = None

    @contextmanager
    def _changing(self, trial_id: int) -> Iterator[Connection]:
        """A transaction on a trial that has not finished."""
        with self.engine.begin() if self._connection is None else nullcontext(self._connection) as connection:
            self.check_trial_is_updatable(trial_id, connection.execute(_STATE, {"id": trial_id}).scalar_one())
            yield connection

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Optuna writes every parameter and attribute by two or three statements of its own, a hundred and more."""
        new = template_trial
        if new is None or new.state != TrialState.RUNNING or new.system_attrs or new.intermediate_values:
            return super()._create_new_trial(study_id, new)
        row = {
            "study_id": study_id,
            "state": new.state,
            "datetime_start": new.datetime_start and _utc(new.datetime_start),
        }
        with self.engine.begin() as connection:
            if connection.execute(_LOCKED, {"study": study_id}).first() is None:
                raise KeyError(f"there is no study {study_id}")
            made = copy.copy(new)
            made._trial_id = connection.execute(_TRIALS.insert().returning(_TRIALS.c.trial_id), row).scalar_one()
            last = connection.execute(_LAST_NUMBER, {"study": study_id, "id": made._trial_id}).scalar()
            made.number = 0 if last is None else last + 1
            connection.execute(_TRIALS.update().where(_TRIALS.c.trial_id == made._trial_id).values(number=made.number))
            params = [
                {
                    "trial_id": made._trial_id,
                    "param_name": name,
                    "param_value": distribution.to_internal_repr(new.params[name]),
                    "distribution_json": distribution_to_json(distribution),
                }
                for name, distribution in new.distributions.items()
            ]
            attributes = [
                {"trial_id": made._trial_id, "key": key, "value_json": json.dumps(value)}
                for key, value in new.user_attrs.items()
            ]
            for model, rows in ((models.TrialParamModel, params), (models.TrialUserAttributeModel, attributes)):
                if rows:
                    connection.execute(insert(model.__table__), rows)
        return made


def _utc(local: datetime) -> datetime:
    """As Optuna keeps times in a database."""
    return local.astimezone(UTC).replace(tzinfo=None)
