"""One sync of one collection: what to compare, and in which order to write.

    watermark with `pending` -> insert and replace -> delete -> watermark without it

In: a dataset, settings and an open target. Out: the changes, carried out or not.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import replace

from pipeline.curation.sync.changes import SyncChanges
from pipeline.curation.sync.columns import columns_of
from pipeline.curation.sync.covered import CommittedState
from pipeline.curation.sync.settings import SyncSettings
from pipeline.curation.sync.targets.counted import CountedTarget
from pipeline.curation.sync.watermark import Watermark, refuse_other
from pipeline.curation.vectors import rebatched
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError, UsageError
from pipeline.phases import OnPhase, counted
from pipeline.scratch.workspace import Workspace

#: How often a sync looks whether another one of the same collection has begun.
_LOOK_S = 1.0


class SyncSession:
    """Reads the watermark when it is made.

    Args:
        dataset: the dataset.
        settings: what the user chose.
        target: the collection.
        on_phase: called with the progress.

    Attributes:
        interrupted: whether an earlier sync began to write and did not end.

    Raises:
        UsageError: the collection is not one of this dataset and model, or the dataset lacks a column.
    """

    def __init__(self, dataset: Dataset, settings: SyncSettings, target: CountedTarget, on_phase: OnPhase) -> None:
        self._dataset, self._settings, self._target, self._on_phase = dataset, settings, target, on_phase
        self._columns = columns_of(dataset, settings)
        self._wanted = Watermark.of(dataset, settings, self._columns)
        text = target.mark()
        self._known = Watermark.parse(text) if text is not None else None
        self.interrupted = bool(self._known and self._known.pending)
        if self._known:
            refuse_other(self._known, self._wanted, settings)
        elif text is None:
            self._refuse_foreign_rows()
        self._state = CommittedState.of(dataset)
        self._token, self._looked_s = secrets.token_hex(8), 0.0

    def _refuse_foreign_rows(self) -> None:
        if not self._settings.full and self._target.count():
            raise UsageError(
                f"The collection {self._settings.collection} in {self._settings.dest} has rows that no sync made: name "
                "another one with --collection, or delete it. With --full it is taken over: rows that the dataset "
                "lacks are deleted."
            )

    @property
    def is_current(self) -> bool:
        """Whether the watermark is of this state of the dataset, so that nothing is to be compared."""
        known, wanted = self._known, self._wanted
        if known is None or known.pending or self._settings.full:
            return False
        return (known.where, known.tables) == (wanted.where, wanted.tables) and self._state.is_in(known)

    def ids_of_interest(self) -> list[str] | None:
        """The ids that may differ, sorted; None for all."""
        known = self._known
        if known is None or known.pending_full or self._settings.full or not self._state.covers(known):
            return None
        if known.where or self._wanted.where:  # A table of decisions is about all rows.
            return None
        return self._state.changed_ids(known)

    def changes(self, ids: list[str] | None, work: Workspace) -> SyncChanges:
        """What the collection should hold, of all ids or of these; not compared yet. Usable while `work` is open."""
        return SyncChanges(self._dataset, self._columns, work, self._settings, ids, self._on_phase)

    def send(self, changes: SyncChanges, of_all: bool) -> None:
        """Carry out changes that were compared, of all ids or of those that changed. The watermark moves last."""
        if changes.total or self._known is None:
            self._target.prepare(self._columns)
            base = self._known or self._wanted
            full = of_all or base.pending_full
            self._target.move_mark(replace(base, pending=self._token, pending_full=full).text())
            self._write(changes)
            self._look()
        self.settle()

    def settle(self) -> None:
        """Move the watermark to this state of the dataset."""
        names = tuple(sorted(self._state.shards)), tuple(sorted(self._state.tombstones))
        self._target.move_mark(self._wanted.covering(*names).text())

    def _write(self, changes: SyncChanges) -> None:
        rows_at_once = self._settings.rows_at_once
        for ids in _slices(changes.ids_to_clear(), rows_at_once):
            self._target.remove(ids)
        on_rows = counted(self._on_phase, "Sending rows", changes.new + changes.replaced)
        for new in (True, False):
            batches = (batch for table in changes.rows_to_send(new) for batch in table.to_batches())
            for rows in rebatched(batches, rows_at_once):
                self._target.put(rows, new)
                on_rows(rows.num_rows)
                self._look_sometimes()
        on_rows = counted(self._on_phase, "Deleting rows", changes.dropped)
        for ids in _slices(changes.ids_to_drop(), rows_at_once):
            self._target.remove(ids)
            on_rows(len(ids))
            self._look_sometimes()
        self._target.finish()

    def _look_sometimes(self) -> None:
        if time.monotonic() - self._looked_s > _LOOK_S:
            self._look()

    def _look(self) -> None:
        """Raise RunError if another sync of the collection has begun since this one did."""
        found = Watermark.parse(self._target.mark() or "")
        self._looked_s = time.monotonic()
        if found is None or found.pending != self._token:
            raise RunError(
                f"Another sync of the collection {self._settings.collection} in {self._settings.dest} began meanwhile, "
                "so this one stopped. Run one at a time; the same command goes on."
            )


def _slices(lists: Iterable[list[str]], size: int) -> Iterable[list[str]]:
    for ids in lists:
        yield from (ids[first : first + size] for first in range(0, len(ids), size))
