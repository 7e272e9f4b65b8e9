"""Images read again from their sources are those that were embedded, or they are failures."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.originals.read import Original, originals
from pipeline.dataset import latest
from pipeline.snapshot.compact import compact
from tests.fixtures.embedded_sources import KINDS, PICTURES, Source, embed, folder, parquet_bytes, parquet_uris, tar
from tests.fixtures.sources import tar_bytes

CHANGED = PICTURES[-1] + b"\0"


def keys(out: Path, ids: list[str] | None = None) -> pa.Table:
    """Keys of the latest rows, in a mixed order or in that of `ids`."""
    table = latest(str(out), ["id", "source_fingerprint"]).read_all()
    places = {id_: place for place, id_ in enumerate(table["id"].to_pylist())}
    order = ids or random.Random(5).sample(sorted(places), len(places))
    return table.take([places[id_] for id_ in order])


def read(out: Path, ids: list[str] | None = None) -> dict[str, Original]:
    wanted = keys(out, ids)
    found = list(originals(str(out), wanted))
    assert [one.id for one in found] == wanted["id"].to_pylist()
    return {one.id: one for one in found}


def reasons(found: dict[str, Original]) -> dict[str, str]:
    assert all((one.image is None) == (one.failure is not None) for one in found.values())
    return {id_: str(one.failure.reason) for id_, one in found.items() if one.failure}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_source_gives_its_bytes_again_in_the_order_asked_for(
    kind: Callable[[Path], Source], tmp_path: Path, out: Path
) -> None:
    source = kind(tmp_path / "source")
    embed(source, out)
    found = read(out)
    assert {id_: one.image for id_, one in found.items()} == dict(source.images)
    some = sorted(source.images)[7:2:-2]
    assert list(read(out, some)) == some


def test_texts_and_columns_are_the_datasets(tmp_path: Path, out: Path) -> None:
    source = parquet_bytes(tmp_path / "source")
    table = pq.read_table(source.uri).append_column("brand", pa.array(["蓝"] * len(PICTURES)))
    pq.write_table(table, source.uri)
    embed(source, out)
    one = read(out, ["sku-3"])["sku-3"]
    assert (one.text, dict(one.extra)) == ("红色连衣裙 sku-3", {"brand": "brand sku-3"})


def test_what_is_gone_or_another_picture_now_is_a_failure(tmp_path: Path, out: Path) -> None:
    source = folder(tmp_path / "source")
    embed(source, out)
    first, second, third = sorted(source.images)[:3]
    (source.uri / first).write_bytes(CHANGED)
    (source.uri / second).unlink()
    (source.uri / third.replace(".jpg", ".txt")).unlink()
    assert reasons(read(out)) == {first: "changed", second: "not_found"}


def test_a_table_that_was_written_again_in_another_order(tmp_path: Path, out: Path) -> None:
    """Addresses stand in the dataset too; where images are in the table itself, none is mistaken for another."""
    by_uri, by_bytes = parquet_uris(tmp_path / "uris"), parquet_bytes(tmp_path / "bytes")
    for source, place in ((by_uri, out), (by_bytes, tmp_path / "out-2")):
        embed(source, place)
        table = pq.read_table(source.uri)
        pq.write_table(table.take([*range(len(table))][::-1]), source.uri)
    assert {id_: one.image for id_, one in read(out).items()} == dict(by_uri.images)
    assert set(reasons(read(tmp_path / "out-2")).values()) == {"changed"}


def test_nights_snapshots_and_moved_runs(tmp_path: Path, out: Path) -> None:
    """Rows of later nights, of a copy of the dataset, and of later nights in the copy."""
    source = tar(tmp_path / "source")
    hidden = source.uri / "1.tar"
    aside = hidden.rename(tmp_path / "1.tar")
    embed(source, out)
    shutil.copy2(aside, hidden)
    embed(source, out)
    assert len(read(out)) == len(PICTURES)
    snapshot = tmp_path / "snapshot"
    compact(str(out), str(snapshot))
    more = {f"more-{n}": PICTURES[n] for n in range(3)}
    members = [(f"{id_}.{kind}", data) for id_, image in more.items() for kind, data in (("jpg", image), ("txt", b"x"))]
    (source.uri / "2.tar").write_bytes(tar_bytes(members))
    images = {**source.images, **more}
    embed(Source(source.uri, images), snapshot)
    assert {id_: one.image for id_, one in read(snapshot).items()} == images


def test_without_plans_a_row_says_where_it_is_or_what_to_do(tmp_path: Path, out: Path) -> None:
    in_tar, by_uri = tar(tmp_path / "tar"), parquet_uris(tmp_path / "uris")
    for source, place in ((in_tar, out), (by_uri, tmp_path / "out-2")):
        embed(source, place)
        shutil.rmtree(place / "_runs")
    assert set(reasons(read(out)).values()) == {"not_found"}
    assert "restore the folders of the runs" in str(read(out, ["key-00"])["key-00"].failure)
    assert {id_: one.image for id_, one in read(tmp_path / "out-2").items()} == dict(by_uri.images)
