"""Adopts pending shards into a new plan: shards of earlier plans that are not committed.

In: entries of the plan log, and the records that the new plan has to do (`shards.ToDo`). Out: shards to adopt, as their
first plan cut and dated them, and the runs that stay open.

A record to do that is in a pending shard must not be cut again: the run that planned that shard may be alive and would
commit the record a second time. So the whole shard is adopted under its own id and date, and the first run to finish it
commits it. Only the locations of its records come from the new listing, since a table may have been rewritten. A record
that the new listing lacks keeps its old location, and fails there if it is gone. A record that is listed in another
state has no location any more, because the object holds that other state now; reading it fails as `changed`. A pending
shard without any record to do belongs to another source, and stays with its planner.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import pyarrow as pa

from pipeline.dataset import layout
from pipeline.dataset.plan_files import read_shards, read_tables
from pipeline.errors import NotFoundError
from pipeline.plan.cuts.runs import runs
from pipeline.plan.log import LogEntry
from pipeline.plan.shards import REMAINING, Cut, Origin, ToDo
from pipeline.records import RECORDS, Shard
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

_PLANNED = RECORDS.append(pa.field("shard", pa.int64())).append(pa.field("row", pa.int64()))
_SAME = "l.source_fingerprint = a.source_fingerprint"
_PLACE = ("image_uri", "text_uri", "container", "position")
_RELOCATED = f"""
SELECT a.id, a.source_fingerprint, a.shard, a.row, coalesce(l.size_bytes, a.size_bytes) AS size_bytes,
       {", ".join(f"CASE WHEN l.id IS NULL THEN a.{name} WHEN {_SAME} THEN l.{name} END AS {name}" for name in _PLACE)}
FROM adopted AS a LEFT JOIN listing AS l ON l.id = a.id
"""


class Pending:
    """The pending shards of a dataset, from the log entries added so far.

    Args:
        out: URI of the dataset.
        todo: records that the new plan has to do; adopted records are removed from it.
        work: holds the new plan's table `listing`.
    """

    def __init__(self, out: str, todo: ToDo, work: Workspace) -> None:
        self._out, self._todo, self._work = out, todo, work
        self._runs: dict[str, list[str]] = {}
        self._shards: dict[str, Shard] = {}
        self._numbered: list[Shard] = []
        self._spools = 0
        work.execute("CREATE TABLE adopted_shards (shard BIGINT)")

    def add_entry(self, entry: LogEntry) -> bool:
        """Read the plans of an entry that are not known yet; returns whether any of their shards is adopted."""
        run_ids = (*entry.open_runs, entry.run_id)
        found = {
            shard.shard_id: shard for run_id in run_ids if run_id not in self._runs for shard in self._read(run_id)
        }
        fresh = [shard for shard_id, shard in found.items() if shard_id not in self._shards]
        # Consecutive shards share one read of a file.
        fresh.sort(key=lambda shard: (shard.records_uri, shard.row_group))
        self._shards.update(found)
        return bool(fresh) and self._adopt(fresh)

    def cuts(self) -> Iterator[Cut]:
        """The adopted shards, in the order in which they were planned."""
        if not self._spools:
            return
        adopted = " UNION ALL ".join(
            f"SELECT * FROM planned_{n} SEMI JOIN adopted_shards USING (shard)" for n in range(self._spools)
        )
        self._work.store("adopted", adopted)
        [(count,)] = self._work.rows("SELECT count(*) FROM adopted")
        with IdPasses(self._work, count, {"adopted": "*", "listing": "*"}) as passes:
            passes.store("relocated", _RELOCATED)
        for rows in runs(self._work.batches("SELECT * FROM relocated ORDER BY shard, row"), "shard"):
            shard = self._numbered[rows["shard"][0].as_py()]
            origin = Origin(shard.planned_by, shard.run_date)
            yield Cut(shard.shard_id, rows.select(RECORDS.names).cast(RECORDS), shard.attempts, origin)

    def open_runs(self, planned: Iterable[str]) -> tuple[str, ...]:
        """The runs with a pending shard that is neither in a later run nor in `planned`, oldest first."""
        covered, left = set(planned), []
        for run_id, shard_ids in reversed(self._runs.items()):
            if not covered.issuperset(shard_ids):
                left.append(run_id)
                covered.update(shard_ids)
        return tuple(reversed(left))

    def _read(self, run_id: str) -> list[Shard]:
        """A run's shards that are not committed; none if its folder was deleted."""
        shards: list[Shard] = []
        with suppress(NotFoundError):
            planned, _ = read_shards(layout.run_uri(self._out, run_id))
            shards = [shard for shard in planned if shard.shard_id not in self._todo.committed]
        self._runs[run_id] = [shard.shard_id for shard in shards]
        return shards

    def _adopt(self, shards: list[Shard]) -> bool:
        """Adopt the shards that hold a record to do; returns whether there is one."""
        name, self._spools, first = f"planned_{self._spools}", self._spools + 1, len(self._numbered)
        with Spool(self._work, name, _PLANNED) as spool:
            for shard, records in read_tables(shards):
                spool.add(records, shard=len(self._numbered))
                self._numbered.append(shard)
        with self._todo.beside(spool) as passes:
            to_do = f"SELECT id, shard FROM {name} SEMI JOIN {REMAINING} USING (id, source_fingerprint)"
            passes.store("to_adopt", to_do)
            self._work.execute("INSERT INTO adopted_shards SELECT DISTINCT shard FROM to_adopt")
            adopted = f"SELECT id, source_fingerprint FROM {name} SEMI JOIN adopted_shards USING (shard)"
            self._todo.leave_out(adopted, passes)
        [(adopted,)] = self._work.rows(f"SELECT count(*) FROM adopted_shards WHERE shard >= {first}")
        return bool(adopted)
