"""Test what rules of a filter may say, and what they mean for numbers that are none."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.filter.rules import read_rules
from pipeline.curation.filter.run import FilterRun, filter_rows
from pipeline.curation.filter.settings import FilterSettings, NamedRule
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import ConfigError, UsageError
from pipeline.phases import ignore
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records
from tests.fixtures.places import ROOT

ROWS = 20
#: Takes some tenths of a second.
SLOW = "levenshtein(repeat('abcde', 2500), repeat('bcdea', {}))"
EXTRA = {
    "price (元)": pa.array([float(n) for n in range(ROWS)]),
    "a.b": pa.array(range(ROWS), pa.int32()),
    "order": pa.array(range(ROWS), pa.int32()),
    "score": pa.array([float("nan") if n % 2 else float(n) for n in range(ROWS)]),
    "exact": pa.array([Decimal(n) / 4 for n in range(ROWS)], pa.decimal256(38, 2)),
    "huge": pa.array([Decimal(n) / 4 for n in range(ROWS)], pa.decimal256(60, 2)),
    "parts": pa.array(
        [{"half": np.float16(n), "all": [Decimal(n)]} for n in range(ROWS)],
        pa.struct([("half", pa.float16()), ("all", pa.list_(pa.decimal256(50, 0)))]),
    ),
    "when": pa.array([n * 3600 for n in range(ROWS)], pa.timestamp("s", "Asia/Shanghai")),
    "数量": pa.array(range(ROWS), pa.int32()),
    "tags": pa.array([["红", "新"] if n < 5 else ["蓝"] for n in range(ROWS)]),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    schema = pa.schema([(name, values.type) for name, values in EXTRA.items()])
    dataset = Dataset.open_or_create(str(tmp_path_factory.mktemp("filter") / "out"), an_identity(extra=schema))
    table = embedded_rows(some_records(ROWS), an_identity())
    for name, values in EXTRA.items():
        table = table.append_column(name, values)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(ROWS))
    keys = {name: table[name] for name in ("id", "source_fingerprint")}
    chance = pa.table({**keys, "chance": pa.array([(n + 1) / ROWS for n in range(ROWS)])})
    (Path(dataset.uri) / "similarity").mkdir()
    pq.write_table(chance, Path(dataset.uri) / "similarity" / "similarity.parquet")
    return dataset.uri


def kept(out: str, **settings: object) -> FilterRun:
    return filter_rows(out, FilterSettings.model_validate(settings), ignore, dry_run=True)


@pytest.mark.parametrize(
    ("wanted", "sql", "rows"),
    [
        ("chance keep=20%", '"chance" <= 0.2', 4),
        ("chance keep=20% highest", '"chance" >= 0.85', 4),
        ("price (元) keep=10%", '"price (元)" >= 18.0', 2),
        ('"price (元)" keep=10% of the lowest', '"price (元)" <= 1.0', 2),
        ("a.b keep=10%", '"a.b" >= 18', 2),
        ("score keep=10%", '"score" >= 16.0', 2),
        ("exact keep=10%", '"exact" >= 4.50', 2),
        ("exact keep=10% lowest", '"exact" <= 0.25', 2),
    ],
)
def test_a_threshold_knows_the_direction_and_any_name(out: str, wanted: str, sql: str, rows: int) -> None:
    found = kept(out, threshold_for=wanted)
    assert found.filtered.counts.rules[-1].sql == sql
    assert found.filtered.counts.kept == rows
    assert kept(out, where=sql).filtered.counts.kept == rows


@pytest.mark.parametrize(
    ("where", "rows"), [("exact > 4.5", 1), ("huge > 4.5", 1), ("parts.half >= 18", 2), ('parts."all"[1] > 18', 1)]
)
def test_numbers_that_duckdb_does_not_know_are_compared(out: str, where: str, rows: int) -> None:
    assert kept(out, where=where).filtered.counts.kept == rows


def test_the_condition_of_an_evaluation_compares_them_too(out: str) -> None:
    with RowFilter("exact > 4.25 and parts.half >= 0 and huge > 1", Dataset.open(out).identity.schema) as rows:
        assert rows.rows(latest(out, rows.columns).read_all()).tolist() == [18, 19]


def test_a_condition_on_a_point_in_time_does_not_depend_on_the_machines_zone(
    out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        monkeypatch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        assert (
            kept(
                out, where="\"when\" >= '1970-01-01 12:00' and \"when\"::date = date '1970-01-01'"
            ).filtered.counts.kept
            == 8
        )
    finally:
        monkeypatch.undo()
        time.tzset()


def test_nan_is_a_missing_value(out: str) -> None:
    [rule] = kept(out, where="score > 5").filtered.counts.rules
    assert (rule.dropped, rule.unknown) == (ROWS - 7, ROWS // 2)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("run_date > now()", "now returns another value"),
        ("run_date > today()", "today returns another value"),
        ("run_date > current_date", "current_date returns another value"),
        ("run_date::timestamp < current_localtimestamp()", "another value"),
        ("age(run_date::timestamp) > interval 3 day", "age returns another value"),
        ("id = current_setting('threads')", "another value"),
        ("price (元) > 5", '"price (元)"'),
        ("a.b > 5", 'write it in double quotes: "a.b"'),
        ("order > 5", 'write it in double quotes: "order"'),
        ("'红' = any(tags)", "list_contains"),
        ("text ＝ ‘红，’", "near \"＝\"; ＝ ‘ ’ are no SQL: write = ' '"),
        ("text = “红”", "no column “红”; “ ” are no SQL: write ' '"),
        ("text = '“红”' and score > 红", "no column 红.\n"),
        ("数目 > 1", "Did you mean 数量?"),
        (f"{SLOW.format('2500')} > 0", "too long"),
    ],
)
def test_a_wrong_rule_says_what_to_write(out: str, where: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "levenshtein" in where:
        monkeypatch.setattr("pipeline.curation.filter.rules._CHECK_S", 0.1)
    with pytest.raises(UsageError) as raised:
        kept(out, where=where)
    assert message in str(raised.value)


def test_rules_that_run_too_long_are_ended(out: str) -> None:
    with pytest.raises(UsageError, match="--time-limit-s"):
        kept(out, where=SLOW.format('"order"::bigint + 60') + " > 0", time_limit_s=0.1)


def test_names_of_rules_are_there_once_and_not_empty(out: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text('rules:\n  red: "true"\n  "red": "false"\n')
    with pytest.raises(ConfigError, match=r"line 3: rules\.red is there twice"):
        read_rules(path)
    path.write_text('rules:\n  "": "true"\n')
    [rule] = read_rules(path)
    with pytest.raises(UsageError, match="no name"):
        kept(out, rules=[NamedRule.model_construct(name=rule.name, sql=rule.sql)])


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("ids.txt", "item-00003\r\nitem-00001\n\n item-00003 \nitem-99999\n", {"item-00001", "item-00003"}),
        ("ids.txt", "\ufeffitem-00002", {"item-00002"}),
        ("ids.txt", f"{'x,' * 100_000}\nitem-00002\n", {"item-00002"}),
        ("ids.txt", f"{'x' * 200_000}\nitem-00002\n", {"item-00002"}),
        ("picked.csv", 'caption,id\n"a, ""b""\n",item-00004\n,item-00005\n', {"item-00004", "item-00005"}),
        ("picked.tsv", "id\tcaption\nitem-00004\tx\n", {"item-00004"}),
        ("semicolons.csv", 'Caption;ID\n"a, b";item-00004\n', {"item-00004"}),
        ("gbk.csv", "标题,id\n红色,item-00004\n".encode("gb18030"), {"item-00004"}),
        ("unicode.txt", "item-00004\r\nitem-00005\r\n".encode("utf-16"), {"item-00004", "item-00005"}),
        ("kept.parquet", pa.table({"x": [1], "Id": ["item-00006"]}), {"item-00006"}),
        ("kept.parquet", pa.table({"id": ["item-00006", None], "x": [1, 2]}), {"item-00006"}),
    ],
)
def test_rows_are_kept_by_a_file_of_ids(
    out: str, tmp_path: Path, name: str, content: str | bytes | pa.Table, ids: set[str]
) -> None:
    path = tmp_path / name
    if isinstance(content, str):
        path.write_text(content, encoding="utf-8", newline="")
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        pq.write_table(content, path)
    filter_rows(out, FilterSettings(ids=str(path), dest=str(tmp_path / "kept")), ignore)
    assert set(pq.read_table(tmp_path / "kept" / "kept.parquet")["id"].to_pylist()) == ids


def test_ids_are_a_rule_beside_others(out: str, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("item-00001\nitem-00002\nitem-00003\n")
    found = kept(out, ids=str(tmp_path / "ids.txt"), where='"a.b" >= 2 and chance > 0')
    assert found.filtered.counts.kept == 2
    assert [(rule.name, rule.dropped) for rule in found.filtered.counts.rules] == [("where", 2), ("ids", 17)]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe1", b"PAR1 not", b"id\n", b"sku|x\nitem-00004|y\n"])
def test_a_file_without_ids_is_refused(out: str, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ids").write_bytes(content)
    with pytest.raises(ConfigError, match=r"--ids .*one id in each line"):
        kept(out, ids=str(tmp_path / "ids"))


@pytest.mark.parametrize("first", ["x,id", "id", "ID", "x;Id", "x\tid,y", '"id', " x"])
def test_a_page_writes_ids_as_csv_that_would_be_misread_as_text(first: str) -> None:
    script = (ROOT / "pipeline" / "report" / "templates" / "scripts" / "map.js").read_text()
    [odd] = re.findall(r"return /(.+)/i\.test\(id\)", script)
    assert re.search(odd, first, re.IGNORECASE)
    assert not re.search(odd, "商品/1234.jpg", re.IGNORECASE)
