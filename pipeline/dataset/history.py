"""Reads the runs of a dataset back from their folders: what each planned, its source and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import config, storage
from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.dataset.plan_files import read_shards
from pipeline.dataset.scan import scan_files
from pipeline.errors import NotFoundError, UsageError
from pipeline.records import RECORDS, Shard

_PLANS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with a finished plan.

    Attributes:
        run_id: sorts by time.
        shards: what it planned.
        kind: "full", or "retry" for a selection of quarantined records.
        source: digest of the source's configuration.
        record_files: URIs of its records, and the run that planned them first; an adopted shard has an earlier run.
    """

    run_id: str
    shards: tuple[Shard, ...]
    kind: str
    source: str
    record_files: Mapping[str, str]


def planned_runs(runs: Mapping[str, list[storage.ObjectInfo]]) -> list[PlannedRun]:
    """The runs with a finished plan, oldest first; `runs` is from `layout.runs`."""
    return storage.in_threads(_read, list(layout.plans(runs).values()), 16)


@lru_cache(_PLANS_KEPT)
def _read(plan: storage.ObjectInfo) -> PlannedRun:
    """A plan, cached per version of its file: a job of many runs reads the same plans after each run."""
    run_uri = storage.parent(plan.uri)
    shards, facts = read_shards(run_uri)
    files: dict[str, str] = {}
    for shard in shards:
        files[shard.records_uri] = max(shard.planned_by, files.get(shard.records_uri, ""))
    return PlannedRun(storage.name(run_uri), tuple(shards), facts["kind"], facts["source"], files)


def current_runs(runs: list[PlannedRun]) -> set[str]:
    """The newest full plan of each source. It holds every record of the source that had no outcome at the time."""
    return set({run.source: run.run_id for run in runs if run.kind == "full"}.values())


def records(runs: list[PlannedRun]) -> pads.Dataset:
    """Every planned record: rows of `schema.RECORDS` with `run` and `current`.

    `run` is the run that listed the record in this state; `current` is whether the plan of a current run has it.
    """
    full = RECORDS.append(pa.field("run", pa.string())).append(pa.field("current", pa.bool_()))
    current = current_runs(runs)
    files = [
        (uri, {"run": listed_by, "current": run.run_id in current})
        for run in runs
        for uri, listed_by in run.record_files.items()
    ]
    return scan_files(files, full)


def latest_config(out: str) -> RunConfig:
    """The configuration of the newest run, for commands that are given only OUT. Raises UsageError, StorageError."""
    for run_id in reversed(layout.runs(storage.normalise(out))):
        found = stored_config(out, run_id)
        if found is not None:
            return found
    raise UsageError(f"No run of {out} stored its configuration: name the source again.")


def stored_config(out: str, run_id: str) -> RunConfig | None:
    """The configuration of a run; None if it stored none.

    Raises:
        ConfigError: it has options that this version does not know.
        StorageError: it cannot be read, or is damaged.
    """
    uri = storage.join(layout.run_uri(out, run_id), layout.CONFIG)
    try:
        tree = storage.read_tree(uri, "restore it from a copy, or delete it and name the source again")
    except NotFoundError:
        return None
    return config.parse(tree, name=uri)
