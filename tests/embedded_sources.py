"""Small sources of every kind, embedded without a model: real files, real plans, true digests of real pictures."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from chinese_clip_fixtures import write_images, write_lmdb
from dataset_fixtures import FakeModel, embedded_rows, provenance
from pictures import jpegs
from source_fixtures import gzipped, put, tar_bytes

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset.schema import QUARANTINE
from pipeline.plan.make import make_plan, new_run_id, read_records

PICTURES = list(jpegs(40))


@dataclass(frozen=True)
class Source:
    """A source's address, how to read it, and the picture of each record."""

    uri: Path
    images: Mapping[str, bytes]
    options: Mapping[str, Any] = field(default_factory=dict)


def embed(source: Source, out: Path | str) -> None:
    """Plan and commit what is new in the source."""
    config = RunConfig(
        source=SourceConfig(uris=(str(source.uri),), retry_timeout_s=0, **source.options),
        output=OutputConfig(uri=str(out)),
    )
    plan = make_plan(config, FakeModel(), new_run_id(), 1)
    for shard in plan.shards:
        records = read_records(shard)
        table = embedded_rows(records, plan.dataset.identity)
        digests = [hashlib.sha256(source.images[record.id]).hexdigest() for record in records]
        table = table.set_column(table.column_names.index("image_sha256"), "image_sha256", pa.array(digests))
        told = provenance(len(records), plan.run_id, shard.planned_by)
        plan.dataset.write_shard(shard.shard_id, shard.run_date, table, QUARANTINE.empty_table(), told)


def folder(place: Path) -> Source:
    names = {f"shelf {n % 3}/{n:02d}.jpg": picture for n, picture in enumerate(PICTURES)}
    put(place, {**names, **{name.replace(".jpg", ".txt"): f"标题 {name}" for name in names}})
    return Source(place, names)


def tar(place: Path, suffix: str = "tar") -> Source:
    ids = {f"key-{n:02d}": picture for n, picture in enumerate(PICTURES)}
    for number, some in enumerate((list(ids)[:25], list(ids)[25:])):
        data = tar_bytes(
            [(f"{id_}.{kind}", value) for id_ in some for kind, value in (("jpg", ids[id_]), ("txt", b"x"))]
        )
        put(place, {f"{number}.{suffix}": gzipped(data) if suffix == "tgz" else data})
    return Source(place, ids)


def tgz(place: Path) -> Source:
    return tar(place, "tgz")


def parquet_bytes(place: Path) -> Source:
    ids = {f"sku-{n}": picture for n, picture in enumerate(PICTURES)}
    place.mkdir(parents=True)
    table = pa.table({"sku": [*ids], "image": [*ids.values()], "title": [f"标题 {id_}" for id_ in ids]})
    pq.write_table(table, place / "items.parquet", row_group_size=16)
    return Source(place / "items.parquet", ids)


def _uris(place: Path) -> tuple[list[dict[str, str]], dict[str, bytes]]:
    put(place / "files", {f"{n}.jpg": picture for n, picture in enumerate(PICTURES)})
    rows = [{"sku": f"sku-{n}", "url": f"files/{n}.jpg", "title": f"标题 {n}"} for n in range(len(PICTURES))]
    return rows, {row["sku"]: PICTURES[n] for n, row in enumerate(rows)}


def parquet_uris(place: Path) -> Source:
    rows, ids = _uris(place)
    pq.write_table(pa.Table.from_pylist(rows), place / "items.parquet")
    return Source(place / "items.parquet", ids)


def csv_uris(place: Path) -> Source:
    rows, ids = _uris(place)
    with (place / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Source(place / "items.csv", ids)


def json_lines(place: Path) -> Source:
    rows, ids = _uris(place)
    put(place, {"items.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)})
    return Source(place / "items.jsonl", ids)


def authors_tsv(place: Path) -> Source:
    write_images(place, "train", dict(enumerate(PICTURES)))
    return Source(place, {str(n): picture for n, picture in enumerate(PICTURES)})


def authors_lmdb(place: Path) -> Source:
    write_lmdb(place / "lmdb" / "train", dict(enumerate(PICTURES)), [(0, "红裙", [0])])
    return Source(place, {str(n): picture for n, picture in enumerate(PICTURES)})


KINDS: tuple[Callable[[Path], Source], ...] = (
    folder,
    tar,
    tgz,
    parquet_bytes,
    parquet_uris,
    csv_uris,
    json_lines,
    authors_tsv,
    authors_lmdb,
)
