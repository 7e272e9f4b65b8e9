"""Finds the sources that a retry must list: those of the records in quarantine.

In: a dataset, whose runs may have had several sources, and reasons. Out: a configuration for each source. Which run
listed a record is in the count of the quarantine; where it is not, as in compacted files, the plans tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.dataset.checks.held import held_records
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import PlannedRun, latest_config, planned_runs, records, stored_config
from pipeline.scratch.workspace import Workspace


def configs_to_retry(out: str, reasons: Sequence[str] = ()) -> list[RunConfig]:
    """The newest run's configuration, with each source that has records in quarantine, for `reasons` if given.

    The source that was read last comes last. Without such records there is the newest run's source alone.

    Raises:
        IdentityError, UsageError: there is no dataset, or no run stored its configuration.
        StorageError, RunError: it cannot be read.
    """
    newest, dataset = latest_config(out), Dataset.open(out)
    held = held_records(dataset.uri)
    if reasons:
        held = held.filter(pc.is_in(held["reason"], pa.array([str(reason) for reason in reasons])))
    runs = planned_runs(layout.runs(dataset.uri))
    wanted = _sources(held, runs)
    last = {run.source: run.run_id for run in runs if run.source in wanted}
    found = [stored_config(dataset.uri, run_id) for run_id in sorted(last.values())]
    return [newest.model_copy(update={"source": one.source}) for one in found if one is not None] or [newest]


def _sources(held: pa.Table, runs: list[PlannedRun]) -> set[str]:
    """The digests of the sources of these records."""
    source_of = {run.run_id: run.source for run in runs}
    unknown = held.filter(pc.invert(pc.is_in(held["run"], pa.array(list(source_of), pa.string()))))
    listed_by = set(held["run"].to_pylist())
    if unknown.num_rows:
        with Workspace() as work:
            work.register("unknown", unknown.select(["id", "source_fingerprint"]))
            work.register("planned", records(runs))
            sql = "SELECT DISTINCT run FROM planned SEMI JOIN unknown USING (id, source_fingerprint)"
            listed_by |= {str(run) for (run,) in work.rows(sql)}
    return {source_of[run] for run in listed_by if run in source_of}
