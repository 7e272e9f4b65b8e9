"""Ids that repeat: the error names the cure for each kind of source, and `unique_ids` makes them unique."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import SourceError
from pipeline.plan.ids.repeated import check_unique
from pipeline.plan.listing import Listing
from pipeline.records import RECORDS, RawRecord, Record
from pipeline.scratch.workspace import Workspace
from pipeline.sources import reopen
from tests.fixtures.sources import put, read, scan, tar_bytes


def planned(*uris: object, **options: Any) -> tuple[list[Record], dict[str, RawRecord]]:
    """The records as a plan lists them, in plan order, and what a reader makes of them."""
    spec, records = scan(*uris, **options)
    with Workspace() as work:
        with Listing(work) as listing:
            listing.add(_batch(records))
        if options.get("unique_ids") == "row":
            listing.add_rows_to_ids()
        check_unique(listing, spec)
        listed = [Record(**row) for batch in listing.ordered() for row in batch.select(RECORDS.names).to_pylist()]
    return listed, read(spec, listed)


def _batch(records: list[Record]) -> pa.Table:
    return pa.Table.from_pylist([{name: getattr(one, name) for name in RECORDS.names} for one in records], RECORDS)


def tar(*keys: str) -> bytes:
    return tar_bytes([(f"{key}.txt", f"{key}{number}".encode()) for number, key in enumerate(keys)])


TARS = {"d1/x.tar": tar("a", "b"), "d1/y.tar": tar("a", "c"), "d2/x.tar": tar("a")}
TABLES = {"x.csv": "id,text\n1,one\n1,uno\n2,two\n", "y.csv": "id,text\n1,eins\n2,zwei\n"}


def test_the_container_goes_in_front_of_every_id(tmp_path: Path) -> None:
    put(tmp_path, TARS)
    with pytest.raises(SourceError, match=r"(?s)1 id .*'a': 3 records.* --unique-ids container\.$"):
        planned(tmp_path)
    records, found = planned(tmp_path, unique_ids="container")
    assert {key: raw.text for key, raw in found.items()} == {
        "d1/x.tar#a": "a0",
        "d1/x.tar#b": "b1",
        "d1/y.tar#a": "a0",
        "d1/y.tar#c": "c1",
        "d2/x.tar#a": "a0",
    }
    assert planned(tmp_path / "d1", unique_ids="container")[0][0].id == "x.tar#a"
    assert planned(tmp_path / "d*" / "*.tar", unique_ids="container")[0][-1].id == "d2/x.tar#a"
    config = scan(tmp_path, unique_ids="container")[0].config
    again = reopen("webdataset", config, records[0].container, False, True)
    assert [raw.text for raw in again.read(records[:2])] == ["a0", "b1"]
    put(tmp_path, {"d1/bad.tar": b""})
    assert "d1/bad.tar#damaged" in planned(tmp_path, unique_ids="container")[1]


def test_rows_go_behind_repeated_ids_and_stay_when_more_is_added(tmp_path: Path) -> None:
    put(tmp_path, TABLES)
    with pytest.raises(
        SourceError, match=r"(?s)2 ids .*\(3 surplus.* another column with --id-column.*--unique-ids row"
    ):
        planned(tmp_path)
    with pytest.raises(SourceError, match="--unique-ids row"):
        planned(tmp_path, unique_ids="container")
    records, found = planned(tmp_path, unique_ids="row")
    assert {key: raw.text for key, raw in found.items()} == {
        "1": "one",
        "1#x.csv#1": "uno",
        "2": "two",
        "1#y.csv#0": "eins",
        "2#y.csv#1": "zwei",
    }
    put(tmp_path, {"y.csv": TABLES["y.csv"] + "1,ein\n", "z.csv": "id,text\n3,drei\n2,zwo\n"})
    more, found = planned(tmp_path, unique_ids="row")
    assert {record.id for record in more} - {record.id for record in records} == {"1#y.csv#2", "3", "2#z.csv#1"}
    assert [raw.failure for raw in found.values()] == [None] * 8


def test_rows_of_tars_are_positions(tmp_path: Path) -> None:
    put(tmp_path, {"x.tar": tar("a", "b") + tar("a")})
    with pytest.raises(SourceError, match=r"must be unique: put their row behind repeated ids with --unique-ids row"):
        planned(tmp_path)
    records, found = planned(tmp_path, unique_ids="row")
    assert [record.id for record in records] == ["a", "b", f"a#x.tar#{records[2].position}"]
    assert [raw.failure for raw in found.values()] == [None] * 3


def test_files_of_one_name_in_two_folders_need_their_common_folder(tmp_path: Path) -> None:
    put(tmp_path, {"d1/a.jpg": b"1", "d2/a.jpg": b"2"})
    for unique_ids in (None, "row", "container"):
        with pytest.raises(SourceError, match="give the folder above the inputs"):
            planned(tmp_path / "d1", tmp_path / "d2", unique_ids=unique_ids)
    assert len(planned(tmp_path, unique_ids="row")[0]) == 2


def test_two_bad_containers_of_one_name_are_two_records(tmp_path: Path) -> None:
    put(tmp_path, {"d1/x.tar": b"", "d2/x.tar": b"", "d2/y.tar": tar("a"), "d1/z.tar": tar("b")})
    found = planned(tmp_path / "d?")[1]
    assert sorted(found) == sorted([f"{tmp_path}/d2/x.tar#damaged", "a", "b", "x.tar#damaged"])
    assert sum(raw.failure is not None for raw in found.values()) == 2


@pytest.mark.parametrize("unique_ids", [None, "container", "row"])
def test_a_prefix_goes_in_front_of_every_id_and_readers_find_the_records(tmp_path: Path, unique_ids: str) -> None:
    for name, files in {"tars": {"x.tar": tar("a", "b"), "bad.tar": b""}, "tables": {"x.csv": TABLES["x.csv"]}}.items():
        put(tmp_path / name, files)
    for name in ("tars", "tables") if unique_ids == "row" else ("tars",):
        plain, texts = planned(tmp_path / name, unique_ids=unique_ids)
        marked, found = planned(tmp_path / name, unique_ids=unique_ids, id_prefix="店a/")
        ids = [one.id if one.id.endswith("#damaged") else f"店a/{one.id}" for one in plain]
        assert [one.id for one in marked] == ids
        assert [raw.text for raw in found.values()] == [raw.text for raw in texts.values()]
        assert [raw.record.id for raw in found.values()] == ids
    put(tmp_path / "folder", {"a.txt": "红", "b/c.txt": "二"})
    assert {key: raw.text for key, raw in planned(tmp_path / "folder", id_prefix="b/")[1].items()} == {
        "b/a.txt": "红",
        "b/b/c.txt": "二",
    }
