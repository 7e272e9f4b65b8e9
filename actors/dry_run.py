"""What a run would do: the plan's counts, an estimate of its time, and its price. Writes nothing and starts no Ray.

The estimate comes from the steady rate of the newest finished run of the same dataset; without one, from reading and
decoding a few of the planned records here, which leaves out the model and says so. Start-up is added.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from actors.crew_size import CrewSize, size_crew, weights_bytes
from actors.machine.cluster import address_of, connected
from actors.machine.local.local_ray import local_resources
from pipeline import storage, units
from pipeline.config import RunConfig
from pipeline.cost.prices import Price, PriceTable, price
from pipeline.cost.work import Rates, Work, work_of
from pipeline.dataset import layout
from pipeline.errors import ImageError, StorageError
from pipeline.images.decode import decode
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.plan.draft import Plan
from pipeline.plan.make import dry_plan
from pipeline.records import Record
from pipeline.sources import reader, scan
from pipeline.sources.places.nearby import check_local
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
        work: requests, bytes and hours.
        price: what they cost; None without prices.
        signals: what would be measured of the images.
        exact: whether vectors would be computed in passes of one shape.
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
    work: Work | None = None
    price: Price | None = None
    signals: tuple[str, ...] = ()
    exact: bool = False


class _Earlier(NamedTuple):
    """An earlier run: seconds of work and of start-up, records, and the counts of its summary."""

    work_s: float
    startup_s: float
    records: int
    stats: Mapping[str, Any]


def dry_run(config: RunConfig, prices: PriceTable | None = None) -> DryRun:
    """Plan `config` without writing, and price the work if there are prices. Raises what planning raises."""
    check_local(config.source.uris)
    model = resolve(config.model)
    crew = _crew(config, model)
    plan = dry_plan(config, model, crew.decoders)
    sizes = [shard.rows for shard in plan.shards]
    crew = crew.for_shards(sizes)
    earlier = _earlier(plan.dataset.uri)
    work_s, startup_s, basis = _estimate(config, plan, model, crew, earlier)
    work = work_of(plan, _rates(crew, earlier, prices))
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
        smallest_shard=min(sizes, default=0),
        largest_shard=max(sizes, default=0),
        decoders=crew.decoders,
        embedders=crew.embedders,
        chunk_rows=crew.chunk_rows,
        estimate_s=None if work_s is None else work_s + startup_s,
        startup_s=startup_s,
        estimate_basis=basis,
        notes=plan.source.notes,
        rows_vanished=plan.rows_vanished,
        skipped=plan.source.skipped,
        exact=config.model.exact,
        work=work,
        price=price(work, prices) if prices else None,
        signals=tuple(map(str, plan.dataset.identity.signals)),
    )


def _crew(config: RunConfig, model: ModelSpec) -> CrewSize:
    """All actors for which there is room now."""
    if address_of(config.cluster) is None:
        resources = local_resources()
    else:
        with connected(config.cluster) as connection:
            resources = connection.resources
    return size_crew(resources, config.cluster, config.model, weights_bytes(model), model.image_size)


def _rates(crew: CrewSize, earlier: _Earlier | None, prices: PriceTable | None) -> Rates:
    """What a record costs: as the last run measured it, else as the prices assume, else unknown."""
    if earlier:
        seconds = {name: float(earlier.stats.get(f"{name}_s", 0.0)) for name in ("decode", "embed", "write")}
        cores = seconds["decode"] + seconds["write"]
        gpus = crew.gpus_per_embedder * seconds["embed"]
        cores += 0.0 if gpus else crew.embedder_threads * seconds["embed"]
        written = earlier.stats.get("bytes_written", 0) / earlier.records
        return Rates(cores / earlier.records, gpus / earlier.records, written or None, "measured by the last run")
    core = prices.records_per_core_hour if prices else None
    gpu = prices.records_per_gpu_hour if prices else None
    gpu_s = (3600 / gpu if gpu else None) if crew.gpus_per_embedder else 0.0
    basis = "the prices' assumption" if core or (gpu and gpu_s) else "no earlier run of this dataset"
    return Rates(3600 / core if core else None, gpu_s, None, basis)


def _estimate(
    config: RunConfig, plan: Plan, model: ModelSpec, crew: CrewSize, earlier: _Earlier | None
) -> tuple[float | None, float, str]:
    """Seconds of work (None: unknown), seconds of start-up, and what they are based on."""
    if not plan.rows:
        return 0.0, 0.0, "nothing to do"
    if earlier:
        work_s, startup_s, records, _ = earlier
        short = ", a short one" if work_s < _STEADY_S else ""
        return plan.rows * work_s / records, startup_s, f"the last run's {records / work_s:.1f} records/s{short}"
    seconds = _sample_s(config, plan, model)
    if seconds is None:
        return None, _STARTUP_S, "no earlier run of this dataset; try --limit 1000 first"
    decoders = units.count(crew.decoders, "decoder")
    basis = f"{seconds * 1000:.1f} ms to read and decode a record here, {decoders}; without the model"
    return plan.rows * seconds / crew.decoders, _STARTUP_S, basis


def _earlier(out: str) -> _Earlier | None:
    """The newest run of `out` that was long enough, else any.

    The rate of a short run is unreliable, because its last chunks wait for each other.
    """
    short = None
    for _, objects in reversed(list(layout.runs(out).items())):
        for info in objects:
            if info.uri.endswith("/summary.json"):
                try:
                    summary: Any = json.loads(storage.read_bytes(info.uri))
                except (StorageError, ValueError):
                    continue
                if not isinstance(summary, dict) or not {"rows_planned", "rows_left", "seconds"} <= summary.keys():
                    continue  # A compaction, which embeds nothing, or a damaged file.
                startup_s = float(summary.get("startup_s", 0.0))
                records, work_s = summary["rows_planned"] - summary["rows_left"], summary["seconds"] - startup_s
                found = _Earlier(work_s, startup_s, records, summary.get("stats", {}))
                if records and work_s >= _STEADY_S:
                    return found
                if records and work_s > 0:
                    short = short or found
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
