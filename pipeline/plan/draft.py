"""Drafts a plan: the records of a listing without an outcome, less those that earlier plans hold, packed into shards.

In: a listed source and a dataset, then new entries of the plan log. Out: a `Plan`, with its records stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.plan import log
from pipeline.plan.cuts.known import read_known, write_known
from pipeline.plan.cuts.packing import Packing
from pipeline.plan.cutting import plan_rows
from pipeline.plan.listing import Listing, source_digest
from pipeline.plan.log import LogEntry, PlanKind
from pipeline.plan.pending import Pending
from pipeline.plan.record_files import RecordFiles
from pipeline.plan.shards import Origin, ToDo, full_cut
from pipeline.records import Shard
from pipeline.scratch.workspace import Workspace
from pipeline.sources import SourceSpec


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one run.

    Attributes:
        run_id: names the run; ids sort by time.
        run_date: the newest partition that its shards are committed to, YYYY-MM-DD.
        rows_in_source: records listed; for a retry, the records ever quarantined for one of its reasons.
        rows_already_done: of these, records with an outcome (for a retry: a later one) before the run.
        rows: records to embed: rows_in_source - rows_already_done, plus the other records of adopted shards.
        size_bytes: bytes to read, as far as known.
        shards: what to embed.
        uri: the run's folder; empty for a dry plan.
        source: how to read the records.
        dataset: where the shards go.
        rows_vanished: ids that the whole catalog has lost since the previous run.
    """

    run_id: str
    run_date: str
    rows_in_source: int
    rows_already_done: int
    rows: int
    size_bytes: int
    shards: list[Shard]
    uri: str
    source: SourceSpec
    dataset: Dataset
    rows_vanished: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed source, the identity of a new dataset of it, and the number of actors that share the work."""

    listing: Listing
    source: SourceSpec
    identity: Identity
    config: RunConfig
    workers: int


class Draft:
    """A plan that follows the log until it is numbered. An empty run id makes a dry plan.

    Attributes:
        uri: the run's folder; empty for a dry plan.
        config: the run's configuration.
        source: digest of the source's configuration.
        number: number of the newest known entry of the log.
    """

    def __init__(self, listed: Listed, dataset: Dataset, run_id: str, work: Workspace) -> None:
        self.uri = layout.run_uri(dataset.uri, run_id) if run_id else ""
        self.config, self.source = listed.config, source_digest(listed.config)
        self._listed, self._dataset = listed, dataset
        today = listed.config.output.run_date or datetime.now(UTC).date()
        self._origin = Origin(run_id, today.isoformat())
        # Read the log first: every commit of a plan that its newest entry does not list as open is then seen below.
        self.number, newest = log.newest(dataset.uri)
        self._known = read_known(dataset.uri, self.source)
        cuts = full_cut(listed.listing, dataset.identity, listed.source)
        self._todo = ToDo(cuts, dataset, work, self._known)
        self._rows = self._todo.rows
        self._pending = Pending(dataset.uri, self._todo, work)
        if newest is not None:
            self._pending.add_entry(newest)

    @property
    def has_work(self) -> bool:
        """Whether a record has no outcome, so that the plan has a shard."""
        return self._rows > 0

    def catch_up(self) -> bool:
        """Read the plans that were numbered since; returns whether they change this one."""
        changed = False
        for entry in log.later(self._dataset.uri, self.number):
            self.number += 1
            changed |= self._pending.add_entry(entry)
        return changed

    def plan(self) -> Plan:
        """The current plan, with its records stored. Adopted shards come last, since other runs may be at them."""
        files = RecordFiles(self.uri, self._origin, source=self._listed.source)
        for cut in chain(self._todo.cuts(self._packing()), self._pending.cuts()):
            files.add(cut)
        files.finish_file()
        listed, shards = self._listed, files.shards
        return Plan(
            run_id=self._origin.run_id,
            run_date=max((shard.run_date for shard in shards), default=self._origin.run_date),
            rows_in_source=listed.listing.rows,
            rows_already_done=listed.listing.rows - self._rows,
            rows=sum(shard.rows for shard in shards),
            size_bytes=sum(shard.size_bytes for shard in shards),
            shards=shards,
            uri=self.uri,
            source=listed.source,
            dataset=replace(self._dataset, policy=storage.ReadPolicy.of_commits(listed.config.source)),
        )

    def _packing(self) -> Packing:
        listed, identity = self._listed, self._dataset.identity
        rows = plan_rows(identity, self.config.output.shard_rows, self._todo.rows, listed.workers)
        return Packing(listed.listing, listed.source, identity.shard_rows, rows)

    def remember(self, plan: Plan, kind: PlanKind) -> None:
        """Store what the next plan of the source needs to skip what is done. A retry knows only a part of a source."""
        known = self._todo.known(shard.shard_id for shard in plan.shards)
        if kind == "full" and known != self._known:
            write_known(self._dataset.uri, self.source, known)

    def entry(self, plan: Plan, kind: PlanKind) -> LogEntry:
        """The log entry of `plan`."""
        return LogEntry(
            run_id=plan.run_id,
            run_date=self._origin.run_date,
            kind=kind,
            created_at=datetime.now(UTC),
            open_runs=self._pending.open_runs(shard.shard_id for shard in plan.shards),
        )
