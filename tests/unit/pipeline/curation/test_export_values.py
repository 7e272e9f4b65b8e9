"""Test which value each consumer of an export gets for a value of each type, and that docs/formats.md says the same."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from pipeline.curation.values import hf, lance, milvus, pgvector, qdrant
from pipeline.curation.values.json_values import json_values
from pipeline.errors import UsageError
from tests.fixtures.places import ROOT
from tests.fixtures.typed_columns import NASTY, TYPED, typed_table

CONSUMERS = {"qdrant": qdrant, "milvus": milvus, "pgvector": pgvector, "lance": lance, "hf": hf}


SHOWN = {
    "decimal128(10, 2)": "decimal(P, S)",
    "(10,2)": "(P,S)",
    str(pa.list_(pa.string())): "list of string",
    "list<item: struct<key: string not null, value: int32>>": "list of key and value",
}


def shown(type_name: str) -> str:
    for name, words in SHOWN.items():
        type_name = type_name.replace(name, words)
    return type_name


def documented() -> dict[str, dict[str, str]]:
    """The table of docs/formats.md: by type, what each consumer gets."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").split("<!-- export types -->\n")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n\n")[0].splitlines()]
    return {kind: dict(zip(lines[0][1:], cells, strict=True)) for kind, *cells in lines[2:]}


def test_the_documented_types_are_those_of_the_code():
    assert list(documented()) == list(TYPED)
    for kind, column in TYPED.items():
        for consumer, module in CONSUMERS.items():
            named = module.type_name(column.type)
            same = consumer in ("lance", "hf") and named == str(column.type)
            assert documented()[kind][consumer] == ("same" if same else shown(named)), (kind, consumer)


def test_json_of_each_type():
    first = qdrant.payloads(typed_table())[0]
    assert first.pop("id") == "one"
    assert dict(zip(TYPED, first.values(), strict=True)) == {
        "bool": True,
        "int8": -8,
        "uint8": 200,
        "int16": -16,
        "uint16": 60_000,
        "int32": -32,
        "uint32": 2**32 - 1,
        "int64": -(2**63),
        "uint64": 2**64 - 1,
        "float16": 1.5,
        "float32": 0.25,
        "float64": 0.1,
        "decimal(P, S)": 12.5,
        "string": NASTY,
        "binary": "YWIAXA==",
        "date": "2026-01-31",
        "time": "12:00:00.25",
        "timestamp": "2026-01-31T12:00:00.25",
        "timestamp with zone": "2026-01-31T12:00:00.25Z",
        "duration": 1.5,
        "null": None,
        "dictionary of string": "红",
        "list of string": ["红", NASTY],
        "list of decimal": [1.1, 2.0],
        "list of date": ["2026-01-31"],
        "list of list": [["红"], [None]],
        "list of N strings": ["红", "蓝"],
        "struct": {"price": 1.1, "on": ["2026-01-31"]},
        "map": {"红": 1},
    }
    second = dict(zip(["id", *TYPED], qdrant.payloads(typed_table())[1].values(), strict=True))
    assert {name: value for name, value in second.items() if value is not None} == {"id": "two", "list of string": []}


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (
            pa.array([253_402_300_800, -62_135_596_801], pa.timestamp("s")),
            ["10000-01-01T00:00:00", "0000-12-31T23:59:59"],
        ),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([float("inf"), 2.0], pa.float16()), [None, 2.0]),
        (pa.array([Decimal(10**18), Decimal(10**30)], pa.decimal128(38, 0)), [10**18, 1e30]),
        (pa.array([[1], None, [2, 3], None], pa.list_view(pa.int8())), [[1], None, [2, 3], None]),
        (pa.array([[("a", 1)], None, [("b", None)]], pa.map_(pa.string(), pa.int8()))[1:], [None, {"b": None}]),
        (pa.array([{}, None], pa.struct([])), [{}, None]),
        (pa.chunked_array([pa.array([b"a"], pa.binary(1)), pa.array([None], pa.binary(1))]), ["YQ==", None]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_json_of_rare_values(column, expected):
    assert json_values(column) == expected


def test_postgres_reads_the_literals_of_rare_values():
    table = pa.table(
        {
            "bc": pa.array([-800_000, None], pa.date32()),
            "nul": pa.array(["x\0y", None]),
            "nested": pa.array([{"x\0": ["\0"]}, None]),
            "wide": pa.array([Decimal(1200), None], pa.decimal128(10, -2)),
        }
    )
    assert pgvector.literals(table) == [
        ["0222-09-04 BC", None],
        ["xy", None],
        ['{"x": [""]}', None],
        ["1200", None],
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("长" * 22_000, "has more than 65,535 bytes"),
        (["长" * 22_000], "has more than 65,535 bytes"),
        (["a", None], "has a null among its elements"),
        (["a"] * 4097, "has more than 4,096 elements"),
    ],
)
def test_what_milvus_cannot_store_is_refused_with_its_row(value, message):
    with pytest.raises(UsageError, match=f"The column c of the row 'two' {message}"):
        milvus.columns(pa.table({"id": ["one", "two"], "c": pa.array([None, value])}))


def test_only_the_image_hash_becomes_hex_digits():
    table = pa.table({"id": ["one"], "image_phash": pa.array([255], pa.uint64()), "n": pa.array([255], pa.uint64())})
    assert qdrant.payloads(table) == [{"id": "one", "image_phash": "00000000000000ff", "n": 255}]
    assert pgvector.literals(table)[1:] == [["00000000000000ff"], ["255"]]
    assert pgvector.sql_types(table.schema) == {"id": "text", "image_phash": "text", "n": "numeric(20,0)"}
    assert milvus.rows(table) == [{"id": "one", "image_phash": "00000000000000ff", "n": "255"}]
    assert lance.lance_table(table).equals(table)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (qdrant, ['a"b', ""]),
        (lance, ["a.b", "a`b", "", "_rowid", "_distance"]),
        (milvus, ["a.b", "价格", "a b", "1a", "in", "NULL", "Timestamp", "a" * 256, "", "é"]),
        (pgvector, ["长" * 22, "", "ctid", "a\nb", "a\0b"]),
    ],
)
def test_all_names_that_a_consumer_refuses_are_in_one_error(module, names):
    with pytest.raises(UsageError) as refused:
        module.NAMES.check(["id", *names, "fine"])
    message = str(refused.value)
    assert all(repr(name)[:80] in message for name in names)
    assert "--rename" in message
    assert "'fine'" not in message


def test_too_many_columns_are_refused():
    with pytest.raises(UsageError, match="Milvus takes 64 columns, and these are 65"):
        milvus.NAMES.check([f"c{at}" for at in range(65)])
