"""The watcher that tells callbacks what has happened, from one snapshot of the search to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from nas.callbacks.callback import Callback, EpochReport
from nas.coordinator.snapshot import RunningJob, Snapshot
from nas.errors import UsageError, describe
from nas.study.records import FINISHED, TrialRecord
from nas.study.settings import StudySettings

ENDED = (*FINISHED, "duplicate")
_Call = Callable[[Callback], None]


class CallbackWatcher:
    """Tells callbacks of epochs, trials and confirmations, each once, and in the order in which they came."""

    def __init__(
        self,
        callbacks: Sequence[Callback],
        study: str,
        settings: StudySettings,
        records: Callable[[], list[TrialRecord]],
        say: Callable[[str], None],
    ) -> None:
        """Tell them that the search `study` begins.

        Args:
            callbacks: what is told.
            study: its name.
            settings: what it was asked for.
            records: gives its trials as they are now; those that have ended already are not told again.
            say: where a line goes that says that a callback has failed.
        """
        self._callbacks = list(callbacks)
        self._records, self._say = records, say
        self._epochs = Counter[tuple[int, int | None]]()  # that were told, by training
        self._told = {record.number for record in records() if record.fate in ENDED}
        self._seeds = {(record.number, c.seed) for record in records() for c in record.confirmations}
        self._tell(lambda callback: callback.on_start(study, settings))

    def update(self, snapshot: Snapshot) -> None:
        """Tell what is new."""
        for job in (*snapshot.ended, *snapshot.running):
            for report in self._new_epochs(job):
                self._tell(lambda callback, report=report: callback.on_epoch(report))  # type: ignore[misc]
        self._tell_ends(snapshot.records)

    def say(self, text: str) -> None:
        """Show no lines."""

    def end(self) -> None:
        """Tell what has ended since the last snapshot, and that the run has."""
        self._tell_ends(self._records())
        self._tell(lambda callback: callback.on_end())

    def _new_epochs(self, job: RunningJob) -> Iterator[EpochReport]:
        """Yield the epochs that were not told, or were told before the worker died and the training began anew."""
        key = job.job.key
        for epoch in job.epochs[self._epochs[key] :]:
            self._epochs[key] += 1
            yield EpochReport(*key, epoch.number, epoch.accuracy, epoch.train_loss, epoch.seconds, job.num_params)

    def _tell_ends(self, records: list[TrialRecord]) -> None:
        for record in records:
            if record.fate in ENDED and record.number not in self._told:
                self._told.add(record.number)
                self._tell(lambda callback, record=record: callback.on_trial(record))  # type: ignore[misc]
            for one in record.confirmations:
                if (record.number, one.seed) not in self._seeds:
                    self._seeds.add((record.number, one.seed))
                    self._tell(lambda callback, record=record, one=one: callback.on_confirmation(record, one))  # type: ignore[misc]

    def _tell(self, call: _Call) -> None:
        """Tell every callback; leave out from then on those that raise: no study is to be lost for one."""
        for callback in tuple(self._callbacks):
            try:
                call(callback)
            except Exception as error:
                self._callbacks.remove(callback)
                self._say(f"{type(callback).__name__} is left out from here on, as it failed: {describe(error)}")


def require_callbacks(callbacks: Sequence[Callback]) -> None:
    """Refuse what is no callback.

    Raises:
        UsageError: one of them is not an instance of `Callback`.
    """
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise UsageError(
                f"`callbacks` has {callback!r:.80}: give instances of nas.callbacks.Callback, such as "
                f"nas.callbacks.TensorBoard()"
            )
