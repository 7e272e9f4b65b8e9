"""What a run would do: the plan's counts and an estimate of its time. Writes nothing and starts no Ray.

The estimate comes from the steady rate of the newest finished run of the same dataset; without one, from reading and
decoding a few of the planned records here, which leaves out the model and says so. Start-up is added.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from actors.crew_size import CrewSize, size_crew, weights_bytes
from actors.machine.cluster import address_of, connected
from actors.machine.local_ray import local_resources
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.errors import ImageError, StorageError
from pipeline.images.decode import decode
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.plan.draft import Plan
from pipeline.plan.make import dry_plan
from pipeline.records import Record
from pipeline.sources import reader, scan
from pipeline.stats import Skipped

_SAMPLE_RECORDS = 48
#: Ray and a model of base size on two CPU cores; used until a run of the dataset has measured it.
_STARTUP_S = 15.0
#: Seconds of work after which the rate of a run is reliable.
_STEADY_S = 10.0


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would do.

    Attributes:
        rows_in, rows_already_done, rows: records in the source, those with an outcome, those to do.
        size_bytes: bytes to read; None if the source does not list sizes.
        smallest_shard, largest_shard: in records.
        estimate_s: expected seconds, start-up included; None if there is no basis for an estimate.
        startup_s: the part of `estimate_s` before the first record: Ray, the actors, the model.
        estimate_basis: what the estimate is based on.
        notes: problems that listing the source found.
        rows_vanished: ids that the source, a whole catalog, no longer holds.
        skipped: what the source holds besides records.
    """

    source: str
    output: str
    model: str
    dtype: str
    run_date: str
    rows_in: int
    rows_already_done: int
    rows: int
    shards: int
    size_bytes: int | None
    smallest_shard: int
    largest_shard: int
    decoders: int
    embedders: int
    chunk_rows: int
    estimate_s: float | None
    startup_s: float
    estimate_basis: str
    notes: tuple[str, ...]
    rows_vanished: int = 0
    skipped: tuple[Skipped, ...] = ()


def dry_run(config: RunConfig) -> DryRun:
    """Plan `config` without writing. Raises what planning raises."""
    model = resolve(config.model)
    if address_of(config.cluster) is None:
        crew = size_crew(local_resources(), config.cluster, config.model, weights_bytes(model), model.image_size)
    else:
        with connected(config.cluster) as connection:
            crew = size_crew(connection.resources, config.cluster, config.model, weights_bytes(model), model.image_size)
    plan = dry_plan(config, model, crew.decoders)
    sizes = [shard.rows for shard in plan.shards] or [0]
    work_s, startup_s, basis = _estimate(config, plan, model, crew)
    return DryRun(
        source=plan.source.describe(),
        output=plan.dataset.uri,
        model=model.name,
        dtype=config.model.dtype,
        run_date=plan.run_date,
        rows_in=plan.rows_in_source,
        rows_already_done=plan.rows_already_done,
        rows=plan.rows,
        shards=len(plan.shards),
        size_bytes=plan.size_bytes or (None if plan.rows else 0),
        smallest_shard=min(sizes),
        largest_shard=max(sizes),
        decoders=crew.decoders,
        embedders=crew.embedders,
        chunk_rows=crew.chunk_rows,
        estimate_s=None if work_s is None else work_s + startup_s,
        startup_s=startup_s,
        estimate_basis=basis,
        notes=plan.source.notes,
        rows_vanished=plan.rows_vanished,
        skipped=plan.source.skipped,
    )


def _estimate(config: RunConfig, plan: Plan, model: ModelSpec, crew: CrewSize) -> tuple[float | None, float, str]:
    """Seconds of work (None: unknown), seconds of start-up, and what they are based on."""
    if not plan.rows:
        return 0.0, 0.0, "nothing to do"
    if earlier := _earlier(plan.dataset.uri):
        work_s, startup_s, records = earlier
        short = ", a short one" if work_s < _STEADY_S else ""
        return plan.rows * work_s / records, startup_s, f"the last run's {records / work_s:.1f} records/s{short}"
    seconds = _sample_s(config, plan, model)
    if seconds is None:
        return None, _STARTUP_S, "no earlier run of this dataset; try --limit 1000 first"
    basis = f"{seconds * 1000:.1f} ms to read and decode a record here, {crew.decoders} decoders; without the model"
    return plan.rows * seconds / crew.decoders, _STARTUP_S, basis


def _earlier(out: str) -> tuple[float, float, int] | None:
    """Seconds of work and of start-up, and records, of the newest run of `out` that was long enough, else of any.

    The rate of a short run is unreliable, because its last chunks wait for each other.
    """
    short = None
    for _, objects in reversed(list(layout.runs(out).items())):
        for info in objects:
            if info.uri.endswith("/summary.json"):
                try:
                    summary: dict[str, Any] = json.loads(storage.read_bytes(info.uri))
                except (StorageError, ValueError):
                    continue
                if "rows_planned" not in summary:
                    continue  # A compaction, which embeds nothing.
                startup_s = float(summary.get("startup_s", 0.0))
                records, work_s = summary["rows_planned"] - summary["rows_left"], summary["seconds"] - startup_s
                if records and work_s >= _STEADY_S:
                    return work_s, startup_s, records
                if records and work_s > 0:
                    short = short or (work_s, startup_s, records)
    return short


def _sample_s(config: RunConfig, plan: Plan, model: ModelSpec) -> float | None:
    """Seconds to read and decode one record, measured on the first few of the source."""
    if not plan.source.has_images:
        return None
    few = config.source.model_copy(update={"limit": _SAMPLE_RECORDS})
    records: list[Record] = []
    scan(few, lambda batch: records.extend(Record(**row) for row in batch.to_pylist()), config.output.uri)
    source = reader(plan.source)
    began = time.perf_counter()
    for raw in source.read(records):
        with suppress(ImageError):  # will be quarantined, and takes time too
            if raw.image is not None:
                decode(raw.image, model.image_size, config.image.max_pixels, config.image.accept_truncated)
    seconds = time.perf_counter() - began
    source.close()
    return seconds / len(records)
