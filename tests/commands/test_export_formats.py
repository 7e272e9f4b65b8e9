"""Test `hanclip export --to ...`: the package each format is meant for reads back the same ids and vectors."""

from __future__ import annotations

import datetime
import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipeline import storage
from pipeline.curation.export.contract import ExportRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.export.registry import FORMATS, ExportFormat, exporter
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import UsageError
from tests.fixtures.commands import Run
from tests.fixtures.datasets import DIM, an_identity, embedded_rows, provenance, some_records, unit_vectors

RECORDS = some_records(700)
IDS = [record.id for record in RECORDS]
#: Every 50th record has no text.
TEXTLESS = set(IDS[::50])
EXTRA = pa.schema(
    [("price", pa.float64()), ("stock", pa.int64()), ("new", pa.bool_()), ("day", pa.date32()), ("note", pa.string())]
)
NASTY = "a\tb\\n\"'\n\r；{[\\N"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """700 rows in two shards, 14 of them without a text."""
    dataset = Dataset.open_or_create(str(tmp_path_factory.mktemp("shop")), an_identity(extra=EXTRA))
    for number, records in enumerate((RECORDS[:500], RECORDS[500:])):
        table = embedded_rows(records, an_identity())
        bare = pa.array([record.id in TEXTLESS for record in records])
        for name in ("text", "text_embedding", "similarity"):
            column = table[name].combine_chunks()
            if name == "text_embedding":
                kept = pa.FixedSizeListArray.from_arrays(column.values, DIM, mask=bare)
            else:
                kept = pc.if_else(bare, pa.scalar(None, column.type), column)
            table = table.set_column(table.column_names.index(name), name, kept)
        ids = [int(record.id[5:]) for record in records]
        values = {
            "price": [at / 7 if at % 3 else None for at in ids],
            "stock": [at * 10**12 for at in ids],
            "new": [at % 2 == 0 for at in ids],
            "day": [datetime.date(2026, 11, 1 + at % 30) for at in ids],
            "note": [NASTY if at % 2 else "" for at in ids],
        }
        for field in EXTRA:
            table = table.append_column(field, pa.array(values[field.name], field.type))
        dataset.write_shard(f"{number:032x}", "2026-11-21", table, QUARANTINE.empty_table(), provenance(len(records)))
    return Path(dataset.uri)


@pytest.fixture
def run(out, tmp_path, hanclip) -> Run:
    """Export to `dest`; returns the JSON line."""

    def run(to: str, *argv: object, code: int = 0) -> dict[str, Any]:
        return hanclip("export", out, tmp_path / "dest", "--to", to, *argv, code=code)

    return run


def wanted(kind: str = "image") -> dict[str, np.ndarray]:
    ids = [id_ for id_ in IDS if kind == "image" or id_ not in TEXTLESS]
    return dict(zip(ids, unit_vectors(ids, DIM, kind), strict=True))


def assert_same(found: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    assert all(np.array_equal(np.asarray(found[id_], np.float32), vector) for id_, vector in expected.items())


def test_every_format_has_an_entry_with_valid_options() -> None:
    assert tuple(FORMATS) == get_args(ExportFormat)
    assert frozenset().union(*(known.options for known in FORMATS.values())) == set(ExportOptions.model_fields)


def test_npy_writes_matrices_and_metadata(run, tmp_path):
    result = run("npy", "--rows-per-file", 300, "--vectors", "both")
    assert (result["rows"], result["left_out"]) == (686, 14)
    dest = tmp_path / "dest"
    metadata = [pq.read_table(path) for path in sorted((dest / "metadata").iterdir())]
    assert [table.num_rows for table in metadata] == [300, 300, 86]
    for folder, kind in (("img_emb", "image"), ("text_emb", "text")):
        found: dict[str, np.ndarray] = {}
        for path, table in zip(sorted((dest / folder).iterdir()), metadata, strict=True):
            vectors = np.load(path)
            assert vectors.dtype == np.float32
            found |= zip(table["id"].to_pylist(), vectors, strict=True)
        assert_same(found, {id_: vector for id_, vector in wanted(kind).items() if id_ not in TEXTLESS})


def test_embedding_reader_opens_npy(run, tmp_path):
    reader = pytest.importorskip("embedding_reader", reason="its bounds on pandas exclude current datasets")
    run("npy", "--rows-per-file", 300, "--vectors", "both")
    read = reader.EmbeddingReader(
        embeddings_folder=str(tmp_path / "dest" / "img_emb"),
        metadata_folder=str(tmp_path / "dest" / "metadata"),
        meta_columns=["id", "text"],
        file_format="parquet_npy",
    )
    assert (read.count, read.dimension) == (686, DIM)
    blocks = list(read(batch_size=250, show_progress=False))
    held = {id_: vector for vectors, ids in blocks for id_, vector in zip(ids["id"], vectors, strict=True)}
    assert_same(held, {id_: vector for id_, vector in wanted().items() if id_ not in TEXTLESS})


def test_faiss_finds_each_vector_by_its_id(run, tmp_path):
    import faiss

    result = run("faiss")
    assert sorted(result["files"].values()) == [686, 686, 700, 700]
    for kind in ("image", "text"):
        index = faiss.read_index(str(tmp_path / "dest" / f"{kind}.index"))
        ids = pq.read_table(tmp_path / "dest" / f"{kind}_ids.parquet")
        assert ids["position"].to_pylist() == list(range(index.ntotal))
        assert_same(dict(zip(ids["id"].to_pylist(), index.reconstruct_n(0, index.ntotal), strict=True)), wanted(kind))
        query = wanted(kind)["item-00123"]
        [[score]], [[at]] = index.search(query[None], 1)
        assert ids["id"][int(at)].as_py() == "item-00123"
        assert score == pytest.approx(1, abs=1e-6)


def test_lancedb_searches_the_table(run, tmp_path):
    lancedb = pytest.importorskip("lancedb")
    run("lance")
    run("lance", "--vectors", "both")
    table = lancedb.connect(tmp_path / "dest").open_table("hanclip")
    rows = table.to_arrow()
    assert_same(dict(zip(rows["id"].to_pylist(), rows["text_embedding"].to_pylist(), strict=True)), wanted("text"))
    assert pa.types.is_fixed_size_list(rows.schema.field("image_embedding").type)
    query = wanted()["item-00123"]
    [nearest] = table.search(query, vector_column_name="image_embedding").metric("cosine").limit(1).to_list()
    assert (nearest["id"], nearest["note"]) == ("item-00123", NASTY)


def test_an_error_of_lance_names_its_cause(run, tmp_path):
    pytest.importorskip("lancedb")
    (tmp_path / "dest" / "hanclip.lance").mkdir(parents=True)
    (tmp_path / "dest" / "hanclip.lance" / "_versions").touch()
    message = run("lance", code=1)["message"]
    assert "Not a directory" in message
    assert ".rs:" not in message


def test_hugging_face_datasets_loads_the_folder(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    run("hf", "--rows-per-file", 400, "--column", "text", "--column", "price")
    loaded = datasets.load_dataset(str(tmp_path / "dest"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.column_names == ["id", "text", "price", "image_embedding"]
    assert loaded.features["image_embedding"].length == DIM
    assert_same(dict(zip(loaded["id"], loaded["image_embedding"], strict=True)), wanted())
    assert loaded[1]["text"] == "红色连衣裙 item-00001"
    assert loaded[0]["text"] is None


def test_milvus_files_match_their_schema(run, tmp_path):
    run("milvus", "--rows-per-file", 400)
    schema = json.loads((tmp_path / "dest" / "schema.json").read_text())
    fields = {field["name"]: field for field in schema["fields"]}
    assert fields["id"] == {"name": "id", "data_type": "VarChar", "max_length": 65535, "is_primary": True}
    assert fields["image_embedding"] == {"name": "image_embedding", "data_type": "FloatVector", "dim": DIM}
    kinds = {name: fields[name]["data_type"] for name in EXTRA.names}
    assert kinds == {"price": "Double", "stock": "Int64", "new": "Bool", "day": "VarChar", "note": "VarChar"}
    files = sorted((tmp_path / "dest").glob("*.parquet"))
    assert [pq.read_metadata(file).num_rows for file in files] == [400, 300]
    rows = pa.concat_tables(pq.read_table(file) for file in files)
    assert rows.column_names == list(fields)
    assert rows.schema.field("image_embedding").type == pa.list_(pa.field("element", pa.float32()))
    assert_same(dict(zip(rows["id"].to_pylist(), rows["image_embedding"].to_pylist(), strict=True)), wanted())
    row = rows.slice(123, 1).to_pylist()[0]
    assert (row["image_phash"], row["day"]) == (
        f"{zlib.crc32(row['id'].encode()) << 32:016x}",
        "2026-11-04",
    )


def test_qdrant_upserts_the_points_without_duplicates(run, tmp_path):
    qdrant = pytest.importorskip("qdrant_client")
    run("qdrant", "--rows-per-file", 400)
    dest = tmp_path / "dest"
    body = json.loads((dest / "collection.json").read_text())
    client = qdrant.QdrantClient(":memory:")
    vectors = {name: qdrant.models.VectorParams(**given) for name, given in body["vectors"].items()}
    client.create_collection("shop", vectors_config=vectors)
    for _ in range(2):
        for path in sorted(dest.glob("points-*.jsonl")):
            points = [qdrant.models.PointStruct(**json.loads(line)) for line in path.read_text().splitlines()]
            client.upsert("shop", points)
    assert client.count("shop").count == 700
    query = wanted()["item-00123"].tolist()
    [nearest] = client.query_points("shop", query=query, using="image_embedding", limit=1).points
    assert (nearest.id, nearest.payload["id"]) == (str(uuid5(NAMESPACE_OID, "item-00123")), "item-00123")
    assert (nearest.payload["stock"], nearest.payload["note"]) == (123 * 10**12, NASTY)
    held, _ = client.scroll("shop", limit=1000, with_vectors=True)
    for point in held:
        vector = np.array(point.vector["image_embedding"], np.float32)
        assert np.allclose(vector, wanted()[point.payload["id"]], atol=1e-6)


def test_postgres_copies_every_row(run, tmp_path, pgvector):
    vector_of = pytest.importorskip("pgvector").Vector.from_text
    run("pgvector", "--rows-per-file", 400)
    for _ in range(2):
        pgvector.psql(tmp_path / "dest", "-f", "load.sql")
    query = "SELECT json_agg(t) FROM (SELECT * FROM hanclip ORDER BY id) AS t"
    rows = json.loads(pgvector.psql(tmp_path, "-c", query))
    assert [row["id"] for row in rows] == IDS
    assert_same({row["id"]: vector_of(row["image_embedding"]).to_numpy() for row in rows}, wanted())
    expected = (123 * 10**12, False, "2026-11-04", NASTY, None, "红色连衣裙 item-00123")
    assert tuple(rows[123][name] for name in ("stock", "new", "day", "note", "price", "text")) == expected
    assert (rows[100]["text"], rows[100]["note"], rows[100]["price"]) == (None, "", 100 / 7)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class SimulatedKillError(Exception):
    """Simulates a kill halfway through an export."""


@pytest.mark.parametrize("to", sorted(set(FORMATS) - {"lance", "webdataset"}))
def test_an_interrupted_export_run_again_gives_the_same_files(out, tmp_path, to):
    """The target holds an earlier export with more parts; none of them may remain."""

    def write(folder: str, rows_per_file: int, rows: float = float("inf")) -> None:
        left = rows

        def advance(more: int) -> None:
            nonlocal left
            left -= more
            if left < 0:
                raise SimulatedKillError

        options = ExportOptions(rows_per_file=rows_per_file, number_ids=True)
        exporter(to)(ExportRequest(str(out), str(tmp_path / folder), options, advance))

    write("whole", 300)
    write("broken", 50)
    with pytest.raises(SimulatedKillError):
        write("broken", 300, 600)
    write("broken", 300)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


def test_data_that_a_consumer_would_reject_or_lose_is_refused(tmp_path):
    extra = pa.schema([("价格", pa.int32()), ("note", pa.string())])
    dataset = Dataset.open_or_create(str(tmp_path / "shop"), an_identity(extra=extra))
    table = embedded_rows(some_records(2), an_identity()).append_column("价格", pa.array([1, 2], pa.int32()))
    table = table.append_column("note", pa.array(["短", "长" * 22_000]))
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(2))
    request = ExportRequest(dataset.uri, str(tmp_path / "dest"), ExportOptions())
    with pytest.raises(UsageError, match=r"excludes '价格'\. Give it another name with --rename 价格=NEW"):
        exporter("milvus")(request)
    assert not (tmp_path / "dest").exists()
    with pytest.raises(UsageError, match="note of the row 'item-00001'"):
        exporter("milvus")(replace(request, options=ExportOptions(columns=("note",))))
    (tmp_path / "dest").mkdir(exist_ok=True)
    (tmp_path / "dest" / "README.md").write_text("# Mine")
    with pytest.raises(UsageError, match=r"README\.md that hanclip did not write"):
        exporter("hf")(request)
    assert (tmp_path / "dest" / "README.md").read_text() == "# Mine"


@pytest.mark.parametrize(
    ("to", "file"),
    [
        ("npy", "metadata/metadata_0000.parquet"),
        ("hf", "data/train-00000.parquet"),
        ("milvus", "rows-00000.parquet"),
        ("qdrant", "points-00000.jsonl"),
        ("pgvector", "rows-00000.copy"),
    ],
)
def test_a_dataset_without_rows_has_one_empty_file(tmp_path, to, file):
    dataset = Dataset.open_or_create(str(tmp_path / "shop"), an_identity())
    exported = exporter(to)(ExportRequest(dataset.uri, str(tmp_path / "dest"), ExportOptions(vectors="both")))
    assert (exported.rows, exported.left_out) == (0, 0)
    written = tmp_path / "dest" / file
    if written.suffix == ".parquet":
        assert {"id", "text"} < set(pq.read_schema(written).names)
    assert not (pq.read_metadata(written).num_rows if written.suffix == ".parquet" else written.read_bytes())


def test_a_missing_column_is_named_in_the_error(run):
    result = run("npy", "--column", "colour", code=2)
    assert "has no column colour; it has id, image_uri," in result["message"]


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("npy", ["--split", "valid"], "npy does not use --split"),
        ("hf", ["--number-ids"], "hf does not use --number-ids"),
        ("faiss", ["--rows-per-file", 9, "--column", "text"], "faiss does not use --column, --rows-per-file"),
        ("chinese-clip", ["--column", "text"], "chinese-clip does not use --column"),
        ("npy", ["--rename", "price"], "--rename: give OLD=NEW, not 'price'"),
        ("milvus", ["--rename", "note=in", "--dry-run"], "excludes 'in'"),
        *(("chinese-clip", ["--split", name], "--split: String should match") for name in ("a/b", "../x", ".x")),
    ],
)
def test_unused_options_and_path_like_names_are_refused(run, tmp_path, to, options, message):
    assert message in run(to, *options, code=2)["message"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("to", "package", "extra"), [("faiss", "faiss", "curate"), ("lance", "lancedb", "sync-lance")])
def test_a_missing_package_is_named_with_its_extra(run, monkeypatch, to, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    assert f"The package {package} is not installed. It comes with the extra {extra}: " in run(to, code=2)["message"]


@pytest.mark.parametrize("below", ["", "features", "embeddings/../features"])
def test_an_export_into_its_own_dataset_is_refused(out, capfd, below):
    before = contents(out)
    for more in ([], ["--dry-run"]):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(out), f"{out}/{below}", "--to", "npy", "--json", *more])
        assert ended.value.code == 2
        assert "is inside the dataset" in json.loads(capfd.readouterr().out.splitlines()[-1])["message"]
    assert contents(out) == before


def test_an_export_to_a_bucket_removes_the_parts_of_a_larger_one(s3, out, tmp_path):
    bucket = s3.bucket()
    for rows_per_file in (100, 400):
        options = ExportOptions(rows_per_file=rows_per_file)
        exporter("qdrant")(ExportRequest(str(out), f"{bucket}/points", options))
    exporter("qdrant")(ExportRequest(str(out), str(tmp_path / "here"), options))
    listed = [info.uri for info in storage.list_objects(f"{bucket}/points")]
    assert {storage.name(uri): storage.read_bytes(uri) for uri in listed} == contents(tmp_path / "here")
