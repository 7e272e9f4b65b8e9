"""Test that docs/data-format.md matches the code and that its examples run."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.dataset.compacted.log import CompactionEntry
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE, TOMBSTONES, OwnColumns
from pipeline.dataset.shard_file import footer_entries
from pipeline.records import RECORDS
from pipeline.vocabulary import RESERVED_COLUMNS, Signal, Stage
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, quarantined_rows, some_records
from tests.fixtures.places import ROOT

DOC = (ROOT / "docs" / "data-format.md").read_text(encoding="utf-8")
DIM = 512


def table_after(marker: str) -> list[list[str]]:
    """Cells of the table after `<!-- marker -->`, without its header."""
    block = DOC.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()[2:]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOC, re.DOTALL)


def as_documented(schema: pa.Schema) -> list[list[str]]:
    vector = f"fixed_size_list<item: float not null>[{DIM}]"
    names = {vector: "fixed_size_list<float32, D>", "float": "float32"}
    return [
        [field.name, names.get(str(field.type), str(field.type)), "yes" if field.nullable else "no"] for field in schema
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset `out` of two runs; the second rewrote one record that had changed."""
    folder = tmp_path_factory.mktemp("docs")
    dataset = Dataset.open_or_create(str(folder / "out"), an_identity(dim=DIM))
    records = some_records(100)
    jobs = [(records[:99], records[99:], "2026-11-20", "run-1"), (some_records(1, 42), [], "2026-11-21", "run-2")]
    for number, (good, bad, day, run) in enumerate(jobs):
        table, quarantined = embedded_rows(good, dataset.identity), quarantined_rows(bad)
        dataset.write_shard(f"{number:032x}", day, table, quarantined, provenance(len(good) + len(bad), run))
    return folder


@pytest.mark.parametrize(
    ("marker", "schema"),
    [
        ("columns: embeddings", OwnColumns(True, True, tuple(Signal)).embedded(DIM)),
        ("columns: quarantine", QUARANTINE),
        ("columns: records", RECORDS),
        ("columns: tombstones", TOMBSTONES),
    ],
)
def test_column_tables_match_the_schemas(marker: str, schema: pa.Schema) -> None:
    assert [row[:3] for row in table_after(marker)] == as_documented(schema)


def test_reserved_columns_match_the_written_columns() -> None:
    assert (*OwnColumns(True, True).embedded(DIM).names, "run_date") == RESERVED_COLUMNS


def test_footer_keys_match_the_written_ones() -> None:
    keys = footer_entries(an_identity(), provenance(1), "0" * 32, "0" * 8, (1, 0))
    assert [row[0] for row in table_after("keys: footer")] == list(keys)


def test_stages_match_the_vocabulary() -> None:
    [documented] = [row[3] for row in table_after("columns: quarantine") if row[0] == "stage"]
    assert documented == f"where it failed: {', '.join(list(Stage)[:-1])} or {list(Stage)[-1]}"


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_python_examples_run(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    names: dict[str, object] = {}
    exec(compile(blocks("python")[number], f"example {number}", "exec"), names)
    sizes = {name: len(value) for name, value in names.items() if name in ("rows", "good", "failed", "ids", "nearest")}
    expected = {"rows": 100, "good": 100, "failed": 1, "ids": 10, "nearest": 10}
    assert sizes == {name: expected[name] for name in sizes}


def test_readers_of_a_compacted_dataset_see_each_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SQL and in Python, with the replaced files still there."""
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for number in range(3):
        commit(dataset, number, some_records(5, 5 * number))
    compact_in_place(dataset.uri, CompactSettings(leave_days=0))
    assert len(list(tmp_path.rglob("embeddings/*/*.parquet"))) == 4
    monkeypatch.chdir(tmp_path)
    [statements] = [block for block in blocks("sql") if "SET VARIABLE" in block]
    assert [duckdb.execute(one).fetchall() for one in duckdb.extract_statements(statements)][2:] == [[(True,)], [(15,)]]
    names: dict[str, pa.Table] = {}
    exec(next(block for block in blocks("python") if "_compactions" in block), names)
    assert names["rows"].num_rows == 15


def test_entries_of_the_log_of_compactions_are_documented() -> None:
    assert [row[0] for row in table_after("keys: compaction")] == list(CompactionEntry.model_fields)


def test_sql_examples_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    per_day, nearest, latest = (duckdb.sql(block) for block in blocks("sql") if "SET VARIABLE" not in block)
    assert [row[1] for row in sorted(per_day.fetchall())] == [99, 1]
    assert nearest.fetchall()[0][0] == "item-00042"
    assert latest.aggregate("count(*), count(DISTINCT id)").fetchall() == [(99, 99)]
    assert latest.filter("id = 'item-00042'").project("CAST(run_date AS VARCHAR)").fetchall() == [("2026-11-21",)]
