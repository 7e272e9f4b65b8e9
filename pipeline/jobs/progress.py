"""The state of a run as values: `Progress` while it runs, `Summary` when it has ended.

The command line draws them; `_runs/<run_id>/progress.json` and `summary.json` store them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from pipeline.stats import Skipped, Stats

State = Literal["planning", "starting", "running", "stopping", "complete", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class StageProgress:
    """The progress of one stage.

    Attributes:
        name: read, decode, embed or write.
        actors: its actors that are alive.
        busy: share of their time spent working since the run started, 0 to 1.
        records_per_s: recent throughput of this stage.
        queued: chunks (for write: shards) submitted to it and not finished.
    """

    name: str
    actors: int
    busy: float
    records_per_s: float
    queued: int


def utc_now() -> str:
    """The time as `Progress.at` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run. Rows are records; planned = done in this run + still to do.

    Attributes:
        eta_s: seconds left; None until the rate is steady enough for an estimate.
        waiting_for: what blocks the run, such as actors that are not ready; empty when nothing does.
        at: when this was reported, an ISO time in UTC; it shows a reader of the file whether the run is alive.
        crew_changes: the newest changes of the number of actors, each with its reason, oldest first.
        computing: what computes the vectors: device, arithmetic, and the towers with their kernels; empty before the
            first embedder is ready.
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
    at: str = field(default_factory=utc_now)
    crew_changes: tuple[str, ...] = ()
    computing: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Records with an outcome out of those planned, 0 to 1; 0 before the plan is made."""
        return self.stats.records / self.rows_planned if self.rows_planned else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain values, `stats` included."""
        lists = {name: list(getattr(self, name)) for name in ("crew_changes", "computing")}
        lists["stages"] = [asdict(stage) for stage in self.stages]
        return {**asdict(self), "stats": self.stats.to_json(), **lists}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Progress:
        """The reverse of `to_json`: unknown keys are ignored, missing ones get their defaults. Raises ValueError."""
        return TypeAdapter(cls).validate_python(plain)


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The stage that limited the throughput, None if no stage was busy for long, and advice in one sentence."""

    stage: str | None
    busy: Mapping[str, float]
    advice: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a run. `rows_planned` = embedded + quarantined + `rows_elsewhere` + `rows_left`.

    Attributes:
        rows_elsewhere: records of shards that another run committed first.
        rows_left: records of shards not committed, for the next run of the same command.
        rows_in_source: records in the source; `rows_in` also counts those of adopted shards.
        rows_vanished: ids that the source, a whole catalog, has lost since the previous run.
        quarantine_share: of all records of the dataset with an outcome, not only of this run, so that another run over
            a complete dataset has the same exit code.
        notes: irregularities found while listing the source.
        skipped: what the source holds besides records.
        startup_s: the part of `seconds` before the first record: planning, Ray, the actors, the model.
        examples: the id of one quarantined record for each reason.
        crew_changes, computing: as in `Progress`.
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
    skipped: tuple[Skipped, ...] = ()
    crew_changes: tuple[str, ...] = ()
    computing: tuple[str, ...] = ()

    @property
    def records_per_s(self) -> float:
        """Records with an outcome per second after start-up; less than a second counts as one."""
        return self.stats.records / max(1.0, self.seconds - self.startup_s)

    @property
    def rows_in(self) -> int:
        """Every record of the source, including those of earlier runs."""
        return self.rows_planned + self.rows_already_done

    @property
    def balance(self) -> str:
        """`10 = 8 embedded + 2 quarantined`, with further terms that are not zero."""
        terms = [f"{self.stats.embedded:,} embedded", f"{self.stats.quarantined.total():,} quarantined"]
        others = {
            "already done": self.rows_already_done,
            "committed by another run": self.rows_elsewhere,
            "left": self.rows_left,
        }
        terms += [f"{rows:,} {name}" for name, rows in others.items() if rows]
        return f"{self.rows_in:,} = " + " + ".join(terms)

    def to_json(self) -> dict[str, Any]:
        """Plain values, equal to what JSON reads back."""
        plain = asdict(self)
        lists = {name: list(plain[name]) for name in ("notes", "skipped", "crew_changes", "computing")}
        return {**plain, "stats": self.stats.to_json(), **lists}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Summary:
        """The reverse of `to_json`: unknown keys are ignored, missing ones get their defaults. Raises ValueError."""
        return TypeAdapter(cls).validate_python(plain)
