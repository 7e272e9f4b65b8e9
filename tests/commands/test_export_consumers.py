"""Test exports of every type and of hard names, by value, with the consumers themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.export.contract import ExportRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.export.registry import ExportFormat, exporter
from pipeline.curation.values.qdrant import payloads
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import UsageError
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records
from tests.fixtures.typed_columns import TYPED

#: Tables are read without dictionaries.
COLUMNS = {kind: column for kind, column in TYPED.items() if not pa.types.is_dictionary(column.type)}
#: Names that all consumers but Milvus take.
HARD = ["价格 (元)", "select", "Größe", "a b", "A b", "a'b", "a,b(c)", "a:b", "a\\b", "a=b", "%s", "$1", "x" * 63, "🙂"]
EASY = [f"c{at}" for at in range(len(COLUMNS))]
NAMES = [*HARD, *EASY[len(HARD) :]]


def dataset_of(folder: Path, names: list[str]) -> str:
    """Two rows with a column of each type, under these names."""
    columns = dict(zip(names, COLUMNS.values(), strict=True))
    extra = pa.schema([(name, column.type) for name, column in columns.items()])
    dataset = Dataset.open_or_create(str(folder / "typed"), an_identity(extra=extra))
    table = embedded_rows(some_records(2), an_identity())
    for name, column in columns.items():
        table = table.append_column(name, column)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(2))
    return dataset.uri


def named(kind: str) -> str:
    """The column of a type among `NAMES`."""
    return NAMES[list(COLUMNS).index(kind)]


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> str:
    return dataset_of(tmp_path_factory.mktemp("hard"), NAMES)


def export(out: str, dest: Path, to: ExportFormat, **options: object) -> None:
    exporter(to)(ExportRequest(out, str(dest), ExportOptions.model_validate(options)))


def expected(kind: str) -> list[object]:
    return COLUMNS[kind].to_pylist()


def test_qdrant_filters_by_values_and_elements(hard, tmp_path):
    client_of = pytest.importorskip("qdrant_client")
    export(hard, tmp_path, "qdrant")
    points = [json.loads(line) for line in (tmp_path / "points-00000.jsonl").read_text().splitlines()]
    client = client_of.QdrantClient(":memory:")
    models = client_of.models
    [(vector, given)] = json.loads((tmp_path / "collection.json").read_text())["vectors"].items()
    client.create_collection("shop", vectors_config={vector: models.VectorParams(**given)})
    client.upsert("shop", [models.PointStruct(**point) for point in points])
    for kind, wanted in {
        "list of string": models.MatchValue(value="红"),
        "int8": models.MatchValue(value=-8),
        "bool": models.MatchValue(value=True),
        "decimal(P, S)": models.Range(gt=12, lt=13),
        "timestamp with zone": models.DatetimeRange(gte="2026-01-31T11:59:59Z", lt="2026-01-31T12:00:01Z"),
    }.items():
        how = "match" if isinstance(wanted, models.MatchValue) else "range"
        condition = models.FieldCondition(key=f'"{named(kind)}"', **{how: wanted})
        found, _ = client.scroll("shop", models.Filter(must=[condition]))
        assert [point.payload["id"] for point in found] == ["item-00000"], kind
        assert found[0].payload == points[0]["payload"]
    assert set(NAMES) < set(points[0]["payload"])
    assert [point["payload"][NAMES[3]] for point in points] == [row["int16"] for row in payloads(pa.table(COLUMNS))]


@pytest.mark.parametrize("to", ["lance", "hf", "npy"])
def test_readers_of_arrow_get_every_value(hard, tmp_path, monkeypatch, to):
    export(hard, tmp_path, to)
    if to == "lance":
        rows = pytest.importorskip("lancedb").connect(tmp_path).open_table("hanclip").to_arrow()
    elif to == "hf":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        datasets = pytest.importorskip("datasets")
        loaded = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
        rows = loaded.with_format("arrow")[:]
    else:
        rows = pq.read_table(tmp_path / "metadata" / "metadata_0000.parquet")
    for kind, name in zip(COLUMNS, NAMES, strict=True):
        values = expected(kind)
        if kind == "map" and to == "hf":
            values = [[{"key": "红", "value": 1}], None]
        assert repr(rows[name].to_pylist()) == repr(values), kind


def test_milvus_filters_by_values_and_elements(tmp_path):
    milvus = pytest.importorskip("milvus_lite")
    export(dataset_of(tmp_path, EASY), tmp_path, "milvus")
    kinds = {kind.name.replace("_", "").lower(): kind for kind in milvus.DataType}
    fields = []
    for field in json.loads((tmp_path / "schema.json").read_text())["fields"]:
        field["dtype"] = kinds[field.pop("data_type").lower()]
        if "element_type" in field:
            field["element_type"] = kinds[field["element_type"].lower()]
        fields.append(milvus.FieldSchema(**field))
    rows = pq.read_table(tmp_path / "rows-00000.parquet").to_pylist()
    json_names = {field.name for field in fields if field.dtype == milvus.DataType.JSON}
    for row in rows:
        row |= {name: json.loads(row[name]) for name in json_names if row[name] is not None}
    column = {kind: EASY[at] for at, kind in enumerate(COLUMNS)}
    with milvus.MilvusLite(str(tmp_path / "milvus")) as db:
        shop = db.create_collection("shop", milvus.CollectionSchema(fields))
        shop.insert(rows)
        for wanted in (
            f'array_contains({column["list of string"]}, "红")',
            f"{column['decimal(P, S)']} == 12.5",
            f"{column['struct']}['price'] < 1.2",
            f"json_contains({column['struct']}['on'], '2026-01-31')",
            f"{column['map']}['红'] == 1",
            f"{column['timestamp with zone']} == '2026-01-31T12:00:00.25Z'",
            f"{column['int64']} == {-(2**63)}",
            f"{column['uint64']} == '{2**64 - 1}'",
            f"{column['bool']} == true",
        ):
            assert [row["id"] for row in shop.query(expr=wanted)] == ["item-00000"], wanted
        assert [row["id"] for row in shop.query(expr=f"{column['float64']} is null")] == ["item-00001"]


def test_postgres_has_its_own_types(hard, tmp_path, pgvector, monkeypatch):
    export(hard, tmp_path, "pgvector")
    with monkeypatch.context() as there:
        there.setenv("PGCLIENTENCODING", "GBK")  # that of a terminal on Chinese Windows
        pgvector.psql(tmp_path, "-f", "load.sql")
    for kind, condition in {
        "bool": "COL",
        "uint64": f"COL = {2**64 - 1}",
        "float16": "COL = 1.5::real",
        "float64": "COL = 0.1",
        "decimal(P, S)": "COL = 12.50 AND pg_typeof(COL) = 'numeric'::regtype",
        "string": "COL = E'a\"b\\\\,{}\\t;\\n红'",
        "binary": "COL = '\\x6162005c'::bytea",
        "date": "COL = DATE '2026-01-31'",
        "time": "COL = TIME '12:00:00.25'",
        "timestamp": "COL = TIMESTAMP '2026-01-31 12:00:00.25'",
        "timestamp with zone": "COL = TIMESTAMPTZ '2026-01-31 20:00:00.25+08'",
        "duration": "COL = INTERVAL '1.5 s'",
        "list of string": "'红' = ANY(COL) AND COL[2] = E'a\"b\\\\,{}\\t;\\n红'",
        "list of decimal": "COL = ARRAY[1.1, 2]",
        "list of date": "COL[1] = DATE '2026-01-31'",
        "list of list": "COL = '[[\"红\"], [null]]'",
        "list of N strings": "COL = ARRAY['红', '蓝']",
        "struct": "(COL->>'price')::numeric = 1.10 AND COL->'on' ? '2026-01-31'",
        "map": "(COL->'红')::int = 1",
    }.items():
        where = condition.replace("COL", '"' + named(kind).replace('"', '""') + '"')
        assert pgvector.psql(tmp_path, "-c", f"SELECT id FROM hanclip WHERE {where}") == "item-00000\n", kind
    second = f'SELECT "{named("float64")}", "{named("list of string")}", "{named("bool")}" IS NULL FROM hanclip'
    assert pgvector.psql(tmp_path, "-c", f"{second} WHERE id = 'item-00001'") == "NaN|{}|t\n"
    nearest = (
        "SELECT id FROM hanclip ORDER BY image_embedding <=> (SELECT image_embedding FROM hanclip LIMIT 1) LIMIT 1"
    )
    assert pgvector.psql(tmp_path, "-c", nearest) == "item-00000\n"


def test_a_renamed_column_has_its_new_name_and_values(hard, tmp_path):
    export(hard, tmp_path, "npy", columns=("价格 (元)", "a=b"), rename=("价格 (元)=price", "a=b=c"))
    rows = pq.read_table(tmp_path / "metadata" / "metadata_0000.parquet")
    assert rows.column_names == ["id", "price", "c"]
    assert rows["price"].to_pylist() == expected("bool")
    for rename, message in (
        ("id=key", "no column of the source id"),
        ("select=price", "leaves out select: name what you rename with --column"),
        ("a=b=id", "would be called 'id'"),
    ):
        with pytest.raises(UsageError, match=message):
            export(hard, tmp_path, "npy", columns=("价格 (元)", "a=b"), rename=(rename,))
