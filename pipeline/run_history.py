"""The runs of a dataset, as their folders tell: what each planned, from which source, with which configuration."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import config, layout, storage
from pipeline.batch import Shard
from pipeline.config import RunConfig
from pipeline.errors import NotFoundError, UsageError
from pipeline.plan_files import read_shards
from pipeline.schema import RECORDS


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with a finished plan.

    Attributes:
        run_id: sorts by time.
        shards: what it planned.
        kind: "full", or "retry" for a selection of quarantined records.
        source: digest of the source's configuration.
        record_files: URIs of its records.
    """

    run_id: str
    shards: list[Shard]
    kind: str
    source: str
    record_files: list[str]


def planned_runs(out: str) -> list[PlannedRun]:
    """All runs with a finished plan, oldest first."""
    return storage.in_threads(_read, [run for run in layout.runs(out).items() if _has_plan(run)], 16)


def _has_plan(run: tuple[str, list[storage.ObjectInfo]]) -> bool:
    return any(info.uri.endswith(f"/{run[0]}/{layout.PLAN}") for info in run[1])


def _read(run: tuple[str, list[storage.ObjectInfo]]) -> PlannedRun:
    run_id, infos = run
    plan_uri = next(info.uri for info in infos if info.uri.endswith(f"/{run_id}/{layout.PLAN}"))
    shards, facts = read_shards(storage.parent(plan_uri))
    return PlannedRun(run_id, shards, facts["kind"], facts["source"], sorted({shard.records_uri for shard in shards}))


def current_runs(runs: list[PlannedRun]) -> set[str]:
    """The newest full plan of each source. Whatever its source held and had no outcome then is in it."""
    return set({run.source: run.run_id for run in runs if run.kind == "full"}.values())


def records(runs: list[PlannedRun]) -> pads.Dataset:
    """Every planned record: rows of `schema.RECORDS` with `run` (its id) and `current` (the run is a current one)."""
    full = RECORDS.append(pa.field("run", pa.string())).append(pa.field("current", pa.bool_()))
    current = current_runs(runs)
    files = [(uri, run.run_id) for run in runs for uri in run.record_files]
    if not files:
        return pads.dataset(full.empty_table())
    filesystem, first = storage.arrow_filesystem(files[0][0])
    scheme = files[0][0].removesuffix(first)
    return pads.FileSystemDataset.from_paths(
        [uri.removeprefix(scheme) for uri, _ in files],
        schema=full,
        format=pads.ParquetFileFormat(),
        filesystem=filesystem,
        partitions=[(pads.field("run") == run) & (pads.field("current") == (run in current)) for _, run in files],
    )


def latest_config(out: str) -> RunConfig:
    """The configuration of the newest run, so that a command about OUT needs no more than OUT. Raises UsageError."""
    for run_id in reversed(layout.runs(storage.normalise(out))):
        try:
            data = storage.read_bytes(storage.join(layout.run_uri(out, run_id), layout.CONFIG))
        except NotFoundError:
            continue
        return config.parse(json.loads(data))
    raise UsageError(f"No run of {out} left its configuration: name the source again.")
