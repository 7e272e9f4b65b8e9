"""What a run would do, without doing it: the plan's counts and an estimate of its time. Writes nothing, starts no Ray.

The estimate comes from the newest finished run of the same dataset; without one, from reading and decoding a few of
the planned records here, which says nothing about the model and says so.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.cluster import Layout, arrange, connected, local_resources
from pipeline import images, layout, storage
from pipeline.batch import Record
from pipeline.config import RunConfig
from pipeline.errors import ImageError, StorageError
from pipeline.model.checkpoints import ModelSpec, resolve
from pipeline.plan import Plan, dry_plan
from pipeline.sources import reader, scan

_SAMPLE_RECORDS = 48


@dataclass(frozen=True, slots=True)
class DryRun:
    """A run before it is made.

    Attributes:
        rows_in, rows_already_done, rows: of the source; with an outcome; to do.
        size_bytes: bytes to read, where the source tells.
        smallest_shard, largest_shard: records.
        estimate_s: expected seconds; None where nothing can be said.
        estimate_basis: what the estimate rests on.
        notes: what the source's listing found out of place.
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
    size_bytes: int
    smallest_shard: int
    largest_shard: int
    decoders: int
    embedders: int
    chunk_rows: int
    estimate_s: float | None
    estimate_basis: str
    notes: tuple[str, ...]


def dry_run(config: RunConfig) -> DryRun:
    """Plan `config` without writing. Raises what planning raises."""
    model = resolve(config.model)
    if config.cluster.address is None:
        crew = arrange(local_resources(), config.cluster, config.model, weights_bytes(model), model.image_size)
    else:
        with connected(config.cluster) as resources:
            crew = arrange(resources, config.cluster, config.model, weights_bytes(model), model.image_size)
    plan = dry_plan(config, model, crew.decoders)
    sizes = [shard.rows for shard in plan.shards] or [0]
    estimate_s, basis = _estimate(config, plan, model, crew)
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
        size_bytes=plan.size_bytes,
        smallest_shard=min(sizes),
        largest_shard=max(sizes),
        decoders=crew.decoders,
        embedders=crew.embedders,
        chunk_rows=crew.chunk_rows,
        estimate_s=estimate_s,
        estimate_basis=basis,
        notes=plan.source.notes,
    )


def weights_bytes(model: ModelSpec) -> int:
    """Size of the model's weights as stored."""
    return sum(file.stat().st_size for file in Path(model.folder).iterdir() if file.suffix in (".safetensors", ".bin"))


def _estimate(config: RunConfig, plan: Plan, model: ModelSpec, crew: Layout) -> tuple[float | None, str]:
    if not plan.rows:
        return 0.0, "nothing to do"
    rate = _earlier_rate(plan.dataset.uri)
    if rate is not None:
        return plan.rows / rate, f"the last run's {rate:.1f} records/s"
    seconds = _sample_s(config, plan, model)
    if seconds is None:
        return None, "no earlier run of this dataset; try --limit 1000 first"
    basis = f"{seconds * 1000:.1f} ms to read and decode a record here, {crew.decoders} decoders; without the model"
    return plan.rows * seconds / crew.decoders, basis


def _earlier_rate(out: str) -> float | None:
    """Records/s of the newest run of `out` that worked for some time."""
    for _, objects in reversed(list(layout.runs(out).items())):
        for info in objects:
            if info.uri.endswith("/summary.json"):
                try:
                    summary: dict[str, Any] = json.loads(storage.read_bytes(info.uri))
                except (StorageError, ValueError):
                    continue
                records = summary["rows_planned"] - summary["rows_left"]
                if records and summary["seconds"] > 0:
                    return float(records / summary["seconds"])
    return None


def _sample_s(config: RunConfig, plan: Plan, model: ModelSpec) -> float | None:
    """Seconds to read and decode one record, measured on the first few of the source."""
    if not plan.source.has_images:
        return None
    few = config.source.model_copy(update={"limit": _SAMPLE_RECORDS})
    records: list[Record] = []
    scan(few, lambda batch: records.extend(Record(**row) for row in batch.to_pylist()), config.output.uri)
    source = reader(plan.source)
    began = time.perf_counter()
    for one in source.read(records):
        with suppress(ImageError):  # it will be quarantined; the time it took counts all the same
            if one.image is not None:
                images.decode(one.image, model.image_size, config.image.max_pixels)
    seconds = time.perf_counter() - began
    source.close()
    return seconds / len(records)
