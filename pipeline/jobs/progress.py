"""What a run tells about itself: `Progress` while it goes, `Summary` at its end. Plain values, no Ray, no terminal.

The command line draws them, `_runs/<run_id>/progress.json` and `summary.json` hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.stats import Stats

State = Literal["planning", "starting", "running", "stopping", "complete", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class StageProgress:
    """One stage right now.

    Attributes:
        name: read, decode, embed or write.
        actors: living actors that do it.
        busy: share of their time spent working since the run's start, 0 to 1.
        records_per_s: records through this stage per second of the recent past.
        queued: chunks (for write: shards) handed to it and not finished.
    """

    name: str
    actors: int
    busy: float
    records_per_s: float
    queued: int


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment. Rows count records: planned = done in this run + still to do.

    Attributes:
        eta_s: seconds left, once the rate is steady enough to tell.
        waiting_for: what holds the run up while nothing flows, such as a crew that is not ready; empty for nothing.
        at: when this was true, an ISO time in UTC: a reader of the file sees whether the run is alive.
    """

    run_id: str
    state: State
    elapsed_s: float = 0.0
    rows_planned: int = 0
    rows_already_done: int = 0
    shards_planned: int = 0
    shards_done: int = 0
    stats: Stats = field(default_factory=Stats)
    stages: tuple[StageProgress, ...] = ()
    records_per_s: float = 0.0
    bytes_per_s: float = 0.0
    inflight_bytes: int = 0
    actors_replaced: int = 0
    eta_s: float | None = None
    waiting_for: str = ""
    at: str = field(default_factory=_now)

    @property
    def share(self) -> float:
        """Records with an outcome out of those planned, 0 to 1; 0 before the plan is made."""
        return self.stats.records / self.rows_planned if self.rows_planned else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, `stats` included."""
        stages = [asdict(stage) for stage in self.stages]
        return {**asdict(self), "stats": self.stats.to_json(), "stages": stages}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Progress:
        """The reverse of `to_json`: unknown keys are ignored, missing ones get their defaults. Raises ValueError."""
        return TypeAdapter(cls).validate_python(plain)


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The stage that set the pace, None where none did for long, and one sentence on what to change."""

    stage: str | None
    busy: Mapping[str, float]
    advice: str


@dataclass(frozen=True, slots=True)
class Summary:
    """A run that ended. `rows_planned` = embedded + quarantined + `rows_elsewhere` + `rows_left`.

    Attributes:
        rows_elsewhere: records of shards that another run committed first.
        rows_left: records of shards not committed, for the next run of the same command.
        rows_in_source: records in the source; `rows_in` counts those of adopted shards beside them too.
        rows_vanished: ids that the source, a whole catalog, does not hold any more since the run before.
        quarantine_share: of all records of the dataset with an outcome, not of this run's alone, so that running a
            complete dataset again gives the same verdict.
        notes: what the source's listing found out of place.
        startup_s: of `seconds`, those before the first record: planning, Ray, the actors, the model.
        examples: the id of one record in quarantine for each reason met.
    """

    run_id: str
    state: State
    output: str
    run_date: str
    model: str
    rows_planned: int
    rows_already_done: int
    rows_elsewhere: int
    rows_left: int
    stats: Stats
    seconds: float
    actors_replaced: int
    bottleneck: Bottleneck | None
    exit_code: int
    message: str = ""
    rows_in_source: int = 0
    rows_vanished: int = 0
    quarantine_share: float = 0.0
    notes: tuple[str, ...] = ()
    startup_s: float = 0.0
    examples: Mapping[str, str] = field(default_factory=dict)

    @property
    def records_per_s(self) -> float:
        """Records with an outcome per second of work, start-up not counted; less than a second counts as one."""
        return self.stats.records / max(1.0, self.seconds - self.startup_s)

    @property
    def rows_in(self) -> int:
        """Every record of the source, those of earlier runs included."""
        return self.rows_planned + self.rows_already_done

    @property
    def balance(self) -> str:
        """`10 = 8 embedded + 2 quarantined`, with the other terms where they are not zero."""
        terms = [f"{self.stats.embedded:,} embedded", f"{self.stats.quarantined.total():,} quarantined"]
        others = {
            "already done": self.rows_already_done,
            "committed by another run": self.rows_elsewhere,
            "left": self.rows_left,
        }
        terms += [f"{rows:,} {name}" for name, rows in others.items() if rows]
        return f"{self.rows_in:,} = " + " + ".join(terms)

    def to_json(self) -> dict[str, Any]:
        """Plain values, `stats` included; equal to what is read back from JSON."""
        return {**asdict(self), "stats": self.stats.to_json(), "notes": list(self.notes)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Summary:
        """The reverse of `to_json`: unknown keys are ignored, missing ones get their defaults. Raises ValueError."""
        return TypeAdapter(cls).validate_python(plain)
