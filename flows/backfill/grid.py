"""The grid of a backfill: one row per partition, from the verdicts at its start to the outcomes at its end.

In: verdicts, manifests, and how jobs ended. Out: rows for the terminal, JSON lines and an artifact, their tally and the
exit code. Values only; the engine decides when a row changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pipeline.partitions.due import Verdict
from pipeline.partitions.manifests import PartitionState

#: not due: done, empty, failed, missing (as the manifest says), later (over the limit); due: waiting, queued, running;
#: ended: done, empty, failed, stopped.
RowStatus = Literal["done", "empty", "failed", "missing", "later", "waiting", "queued", "running", "stopped"]

_WORST_FIRST = (1, 143, 3)


@dataclass(frozen=True, slots=True)
class GridRow:
    """One partition.

    Attributes:
        key: the partition's.
        status: see `RowStatus`; for a partition that this backfill ran, the outcome of this backfill.
        why: why it is due; empty if it is not.
        rows: records in its source.
        embedded, quarantined: records that its last run committed.
        seconds: how long its last run took.
        job: id of the job that runs or ran it.
        message: why it failed, or a note.
        exit_code: of its run in this backfill; None if it did not run.
    """

    key: str
    status: RowStatus
    why: str = ""
    rows: int = 0
    embedded: int = 0
    quarantined: int = 0
    seconds: float = 0.0
    job: str = ""
    message: str = ""
    exit_code: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def with_state(self, state: PartitionState) -> GridRow:
        """The same row with the counts of a manifest."""
        return replace(
            self,
            status=state.status,
            rows=state.rows,
            embedded=state.embedded,
            quarantined=state.quarantined,
            seconds=state.seconds,
            job=state.job_id,
            message=state.message,
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """All rows, in the order of the request.

    Attributes:
        notes: about the backfill as a whole.
        failure: why the backfill as a whole failed, whatever the rows say.
    """

    rows: tuple[GridRow, ...]
    notes: tuple[str, ...] = field(default=())
    failure: str = ""

    def of(self, key: str) -> GridRow:
        """The row of a partition."""
        return next(row for row in self.rows if row.key == key)

    def with_rows(self, rows: Iterable[GridRow]) -> Grid:
        """The grid with these rows in place of those of the same partitions."""
        changed = {row.key: row for row in rows}
        return replace(self, rows=tuple(changed.get(row.key, row) for row in self.rows))

    def with_note(self, note: str) -> Grid:
        """The grid with one more note."""
        return self if note in self.notes else replace(self, notes=(*self.notes, note))

    def tally(self) -> Counter[str]:
        """Partitions by status."""
        return Counter(row.status for row in self.rows)

    @property
    def found_nothing(self) -> bool:
        """Whether every partition that has an outcome is empty."""
        ended = [row for row in self.rows if row.status in ("done", "empty", "failed")]
        return bool(ended) and all(row.status == "empty" for row in ended)

    @property
    def left(self) -> int:
        """Due partitions that have not ended."""
        return sum(row.status in ("waiting", "queued", "running") for row in self.rows)

    @property
    def exit_code(self) -> int:
        """The worst of the partitions that ran: 1 failed, 143 stopped, 3 too much in quarantine, else 0."""
        codes = [row.exit_code for row in self.rows if row.exit_code is not None] + ([1] if self.failure else [])
        return next((code for code in _WORST_FIRST if code in codes), 0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "partitions": [row.to_json() for row in self.rows],
            "tally": self.tally(),
            "notes": self.notes,
            "failure": self.failure,
            "exit_code": self.exit_code,
        }


def first_grid(verdicts: Sequence[Verdict], chosen: Sequence[Verdict]) -> Grid:
    """The grid before anything ran: `chosen` are waiting, other due ones later, the rest as in their manifests."""
    waiting = {verdict.key for verdict in chosen}
    return Grid(tuple(_first_row(verdict, waiting) for verdict in verdicts))


def of_states(states: Mapping[str, PartitionState]) -> Grid:
    """The grid of a dataset's manifests."""
    return Grid(tuple(GridRow(key, "missing").with_state(state) for key, state in states.items()))


def _first_row(verdict: Verdict, waiting: set[str]) -> GridRow:
    row = GridRow(verdict.key, "missing", verdict.why)
    if verdict.state is not None:
        row = row.with_state(verdict.state)
    if not verdict.why:
        return row
    return replace(row, status="waiting" if verdict.key in waiting else "later")
