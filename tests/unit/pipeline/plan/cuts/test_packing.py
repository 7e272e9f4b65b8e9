"""Packing: what remains of many cuts fills shards; containers that are read from their beginning stay alone."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset.plan_files import read_records
from pipeline.plan.cuts.packing import Packer, Packing
from pipeline.plan.cutting import MAX_ROWS
from pipeline.plan.listing import Listing
from pipeline.plan.make import make_plan, make_retry_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.records import RECORDS
from pipeline.scratch.workspace import Workspace
from pipeline.sources import SourceSpec, reader
from tests.fixtures.catalogs import MODEL, Catalog, skus
from tests.fixtures.datasets import carry_out
from tests.fixtures.sources import gzipped, tar_bytes


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path)


def sizes(catalog: Catalog, workers: int = 2) -> list[int]:
    plan = catalog.plan(workers=workers)
    carry_out(plan)
    return [shard.rows for shard in plan.shards]


@pytest.mark.parametrize(
    ("every", "expected"), [(100, [40]), (8, [504]), (6, [672]), (5, [512, 288]), (2, [512] * 3 + [464])]
)
def test_what_is_left_of_many_cuts_fills_the_fewest_shards_in_order(every: int, expected: list[int]) -> None:
    rows = pa.table({"id": skus(4000), "container": pa.nulls(4000, pa.string()), "attempts": [0] * 4000})
    left = [rows.slice(start, 500).take(pa.array(range(0, 500, every))) for start in range(0, 4000, 500)]
    spec = SourceSpec("folder", SourceConfig(uris=("photos",)), True, False, pa.schema([]), 4000)
    with Workspace() as work:
        packer = Packer(Packing(Listing(work), spec, 512, 512))
        shards = [shard for one in left for shard in packer.add(one)] + list(packer.rest())
    assert [shard.num_rows for shard in shards] == expected
    assert pa.concat_tables(shards) == pa.concat_tables(left)


def test_scattered_changes_are_one_shard(catalog: Catalog) -> None:
    ids = skus(2000)
    catalog.write("part-0", ids)
    assert len(sizes(catalog)) > 3
    catalog.write("part-0", ids, ids[::8])
    [shard] = catalog.plan().shards
    assert [record.id for record in read_records(shard)] == ids[::8]


def test_a_part_without_any_outcome_keeps_its_name_among_packed_ones(catalog: Catalog) -> None:
    catalog.write("part-0", skus(2000))
    sizes(catalog)
    catalog.write("part-0", skus(2000), skus(2000)[::500])
    catalog.write("part-1", skus(1500, "new"))
    mixed = sizes(catalog)
    assert mixed[-1] < 256 <= min(mixed[:-1])
    assert sum(mixed) == 1504


def test_a_small_first_run_does_not_fix_the_size_of_later_shards(catalog: Catalog) -> None:
    catalog.write("part-0", skus(300))
    assert sizes(catalog) == [300]
    catalog.write("part-1", skus(4200, "later"))
    assert sizes(catalog, workers=1) == [1024, 1024, 1024, 1128]
    assert catalog.plan().shards == []


def test_remnants_of_tars_share_a_shard_and_those_of_compressed_tars_do_not(tmp_path: Path) -> None:
    source = tmp_path / "tars"
    source.mkdir()
    for name in ("a.tar", "b.tar", "c.tar.gz", "d.tar.gz"):
        data = tar_bytes([(f"{name[0]}{n}.jpg", f"{name} {n}".encode()) for n in range(9)])
        (source / name).write_bytes(gzipped(data) if name.endswith("gz") else data)
    config = RunConfig(source=SourceConfig(uris=(str(source),)), output=OutputConfig(uri=str(tmp_path / "out")))
    carry_out(make_plan(config, MODEL, new_run_id(), 1), {f"{tar}{n}": "timeout" for tar in "abcd" for n in (1, 4, 7)})
    plan = make_retry_plan(config, MODEL, new_run_id(), str(tmp_path / "out"))
    records = [read_records(shard) for shard in plan.shards]
    held = [[Path(name).name for name, _ in groupby(record.container or "" for record in some)] for some in records]
    assert held == [["c.tar.gz"], ["d.tar.gz"], ["a.tar", "b.tar"]]
    assert [shard.sequential for shard in plan.shards] == [True, True, False]
    for some in records:
        raw = reader(plan.source).read(some)
        assert [one.image for one in raw] == [
            f"{Path(one.record.container or '').name} {one.record.id[-1]}".encode() for one in raw
        ]


def test_long_tables_of_text_are_packed_alone() -> None:
    rows = {"a.csv": 10, "b.csv": MAX_ROWS + 1, "c.parquet": MAX_ROWS + 1, "d.csv": 10}
    spec = SourceSpec("table", SourceConfig(uris=("tables",)), False, True, pa.schema([]), 0)
    with Workspace() as work:
        with Listing(work) as listing:
            for name, count in rows.items():
                columns = {"id": skus(count, name), "source_fingerprint": [""] * count, "container": [name] * count}
                blank = {field.name: pa.nulls(count, field.type) for field in RECORDS if field.name not in columns}
                listing.add(pa.table({**columns, **blank}).select(RECORDS.names).cast(RECORDS))
        packer = Packer(Packing(listing, spec, 512, 512))
        left = pa.table({"container": [name for name in rows for _ in range(3)], "attempts": [0] * 12})
        shards = [*packer.add(left), *packer.rest()]
    assert [shard["container"].unique().to_pylist() for shard in shards] == [["b.csv"], ["a.csv", "c.parquet", "d.csv"]]


def test_a_shard_of_several_tables_is_sequential_if_any_of_them_is(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("id,text\nfirst,one\n", encoding="utf-8")
    pq.write_table(pa.table({"id": ["second"], "text": ["two"]}), tmp_path / "a.parquet")
    uris = (str(tmp_path / "a.parquet"), str(tmp_path / "b.csv"))
    config = RunConfig(source=SourceConfig(uris=uris), output=OutputConfig(uri=str(tmp_path / "out")))
    [shard] = make_plan(config, MODEL, new_run_id(), 1).shards
    assert shard.sequential
