"""Reading original images again: either the bytes that were embedded, or a failure with its reason."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.export.images import OriginalImages
from pipeline.curation.originals.read import Original, originals
from pipeline.curation.search.exact import vectors_of
from pipeline.dataset import latest
from pipeline.snapshot.compact import compact
from tests.fixtures.embedded_sources import KINDS, PICTURES, Source, embed, folder, parquet_bytes, parquet_uris, tar
from tests.fixtures.sources import tar_bytes

CHANGED = PICTURES[-1] + b"\0"


def keys(out: Path, ids: list[str] | None = None) -> pa.Table:
    """Keys of the latest rows, shuffled or in the order of `ids`."""
    table = latest(str(out), ["id", "source_fingerprint"]).read_all()
    places = {id_: row for row, id_ in enumerate(table["id"].to_pylist())}
    order = ids or random.Random(5).sample(sorted(places), len(places))
    return table.take([places[id_] for id_ in order])


def read(out: Path, ids: list[str] | None = None) -> dict[str, Original]:
    requested = keys(out, ids)
    found = list(originals(str(out), requested))
    assert [one.id for one in found] == requested["id"].to_pylist()
    return {one.id: one for one in found}


def reasons(found: dict[str, Original]) -> dict[str, str]:
    assert all((one.image is None) == (one.failure is not None) for one in found.values())
    return {id_: str(one.failure.reason) for id_, one in found.items() if one.failure}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_source_returns_its_bytes_in_the_requested_order(
    kind: Callable[[Path], Source], tmp_path: Path, out: Path
) -> None:
    source = kind(tmp_path / "source")
    embed(source, out)
    found = read(out)
    assert {id_: one.image for id_, one in found.items()} == dict(source.images)
    some = sorted(source.images)[7:2:-2]
    assert list(read(out, some)) == some


def test_missing_and_changed_images_are_failures(tmp_path: Path, out: Path) -> None:
    source = folder(tmp_path / "source")
    embed(source, out)
    first, second, third = sorted(source.images)[:3]
    (source.uri / first).write_bytes(CHANGED)
    (source.uri / second).unlink()
    (source.uri / third.replace(".jpg", ".txt")).unlink()
    assert reasons(read(out)) == {first: "changed", second: "not_found"}


def test_a_reordered_table_never_returns_a_wrong_image(tmp_path: Path, out: Path) -> None:
    """Images are found by the address that the dataset stores; images inside the table count as changed."""
    by_uri, by_bytes = parquet_uris(tmp_path / "uris"), parquet_bytes(tmp_path / "bytes")
    for source, target in ((by_uri, out), (by_bytes, tmp_path / "out-2")):
        embed(source, target)
        table = pq.read_table(source.uri)
        pq.write_table(table.take([*range(len(table))][::-1]), source.uri)
    assert {id_: one.image for id_, one in read(out).items()} == dict(by_uri.images)
    assert set(reasons(read(tmp_path / "out-2")).values()) == {"changed"}


def embedded_in_two_runs(folder: Path, out: Path) -> Source:
    """A source of two tars, the second of which came for the second run."""
    source = tar(folder / "source")
    second_tar = source.uri / "1.tar"
    kept = second_tar.rename(folder / "1.tar")
    embed(source, out)
    shutil.copy2(kept, second_tar)
    embed(source, out)
    return source


def test_rows_of_incremental_runs_and_of_a_snapshot_are_read(tmp_path: Path, out: Path) -> None:
    """Rows of a later run, of a snapshot, and of a later run into the snapshot."""
    source = embedded_in_two_runs(tmp_path, out)
    assert len(read(out)) == len(PICTURES)
    snapshot = tmp_path / "snapshot"
    compact(str(out), str(snapshot))
    more = {f"more-{n}": PICTURES[n] for n in range(3)}
    members = [(f"{id_}.{kind}", data) for id_, image in more.items() for kind, data in (("jpg", image), ("txt", b"x"))]
    (source.uri / "2.tar").write_bytes(tar_bytes(members))
    images = {**source.images, **more}
    embed(Source(source.uri, images), snapshot)
    assert {id_: one.image for id_, one in read(snapshot).items()} == images


def without_others(file: Path, id_: str) -> int:
    """Overwrite the row groups of a Parquet file that cannot hold this id; returns how many."""
    metadata, content, damaged = pq.read_metadata(file), bytearray(file.read_bytes()), 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(column) for column in range(group.num_columns)]
        ids = next(column.statistics for column in columns if column.path_in_schema == "id")
        if not ids.min <= id_ <= ids.max:
            damaged += 1
            for column in columns:
                start = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
                content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    file.write_bytes(content)
    return damaged


def test_a_row_is_read_without_the_others(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else there is of a large dataset and in its plans costs nothing."""
    monkeypatch.setattr("pipeline.dataset.shard_file._ROW_GROUP_BYTES", 2000)
    source = embedded_in_two_runs(tmp_path, out)
    wanted = keys(out, ["key-30"])
    assert sum(without_others(file, "key-30") for file in out.glob("embeddings/**/*.parquet")) > 3
    assert sum(without_others(file, "key-30") for file in out.glob("_runs/*/records/*.parquet")) == 1
    [found] = originals(str(out), wanted)
    assert found.image == source.images["key-30"]
    assert vectors_of(str(out), ["key-30"]).shape == (1, 8)


def test_without_plans_only_rows_with_an_address_are_read(tmp_path: Path, out: Path) -> None:
    in_tar, by_uri = tar(tmp_path / "tar"), parquet_uris(tmp_path / "uris")
    for source, target in ((in_tar, out), (by_uri, tmp_path / "out-2")):
        embed(source, target)
        shutil.rmtree(target / "_runs")
    assert set(reasons(read(out)).values()) == {"not_found"}
    assert "restore the folders of the runs" in str(read(out, ["key-00"])["key-00"].failure)
    assert {id_: one.image for id_, one in read(tmp_path / "out-2").items()} == dict(by_uri.images)


def test_an_export_has_no_image_of_a_row_that_came_after_its_beginning(tmp_path: Path, out: Path) -> None:
    source = folder(tmp_path / "source")
    embed(source, out)
    known = min(source.images)
    row = keys(out, [known])
    others = pa.table({"id": ["came-later", known], "source_fingerprint": ["", "of another state"]})
    with OriginalImages(str(out)) as images:
        for rows in (row, row.select(["id"])):
            assert images.column(rows).to_pylist()[0]["bytes"] == source.images[known]
        assert (images.column(others).to_pylist(), images.missing) == ([None, None], 2)
