"""What a backfill does: which partitions, which of them again, in what order and how many at once.

One frozen pydantic model for the command line and for Prefect's form. It is validated as a whole, before anything
starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Self

from pydantic import Field, model_validator

from pipeline.errors import ConfigError
from pipeline.partitions.dates import Every, dates, latest
from pipeline.validation import Options
from pipeline.vocabulary import Order, Reprocess

_MOST_PARTITIONS = 10_000


class BackfillRequest(Options):
    """Which partitions to run, and how."""

    start: date | None = Field(default=None, description="First date, included.")
    end: date | None = Field(
        default=None, description="Last date, included; yesterday (UTC) if not given, the last day that is whole."
    )
    partitions: tuple[str, ...] = Field(
        default=(), description="Partitions by name in place of a range: dates, or words for {key}."
    )
    latest: int | None = Field(
        default=None,
        ge=1,
        le=_MOST_PARTITIONS,
        description="The N newest partitions up to the end, in place of a start.",
    )
    every: Every = Field(default="day", description="Length of a partition: each date named is the first of its days.")
    reprocess: Reprocess = Field(
        default="missing",
        description="failed: those whose last run failed. missing: these, and those without an outcome. stale: these, "
        "and those whose options or source changed since. all: every one. Only what has no outcome yet is embedded.",
    )
    order: Order = Field(default="oldest", description="Which to run first.")
    max_active: int = Field(default=2, ge=1, le=1000, description="Jobs at once.")
    group: int = Field(default=7, ge=1, le=1000, description="Partitions per job: it loads the model once.")
    limit: int | None = Field(default=None, ge=1, description="Run the first N due partitions only.")
    fail_fast: bool = Field(default=False, description="Stop all jobs when a partition fails.")
    dry_run: bool = Field(default=False, description="Report what would run, and why; start nothing.")

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Self:
        ways = {"start": self.start, "partitions": self.partitions or None, "latest": self.latest}
        given = [name for name, value in ways.items() if value is not None]
        if not given:
            raise ValueError("nothing says which partitions: give start (and end), latest, or partitions")
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other: give one of them")
        if self.partitions and (self.end is not None or self.every != "day"):
            raise ValueError("end and every belong to start or latest: leave them out when partitions are named")
        if self.start and self.end and self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}: swap them")
        return self

    def until(self, today: date) -> Self:
        """The same with an end: if none was given, the day before `today`, which is not whole yet."""
        if self.partitions or self.end is not None:
            return self
        return self.model_copy(update={"end": today - timedelta(days=1)})

    def chosen_keys(self) -> Sequence[date | str]:
        """The chosen partitions, oldest first; without an end up to yesterday (UTC).

        Not called `keys`: an object with a method of that name looks like a mapping to `dict`, and so to Prefect.
        """
        if self.partitions:
            return self.partitions
        if self.end is None:
            return self.until(datetime.now(UTC).date()).chosen_keys()
        if self.latest is not None:
            return latest(self.latest, self.end, self.every)
        assert self.start is not None
        if self.start > self.end:
            raise ConfigError(
                f"start {self.start} is after yesterday, {self.end}, where a range without an end stops: give an end."
            )
        return dates(self.start, self.end, self.every)
