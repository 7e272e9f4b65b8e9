"""Test `hanclip report`: the page against independent counts over the dataset's files."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from flows.cli import main
from pipeline.curation.filter.filtering import filtering, tables_folder, write_tables
from pipeline.curation.filter.rules import FilterRule
from pipeline.curation.tables import write_table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.layout import dedup_uri
from pipeline.dataset.schema import QUARANTINE
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records
from tests.fixtures.pages import Page
from tests.fixtures.places import ROOT
from tests.fixtures.processes import patience

RULES = [FilterRule("fits", "similarity >= 0.25"), FilterRule("alone", "keep")]
DEDUP = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "source_fingerprint", "group", "rung", "duplicate_of")),
        ("cosine", pa.float32()),
        ("keep", pa.bool_()),
    ]
)


def report(out: object, page: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Page, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        main(["report", str(out), "--to", str(page), "--json"])
    captured = capsys.readouterr()
    assert not ended.value.code, captured.err
    return Page(page), json.loads(captured.out)


@pytest.fixture(scope="module")
def demo(demo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo dataset with exact copies marked as duplicates, and filtered."""
    out = Path(shutil.copytree(demo_dataset, tmp_path_factory.mktemp("report") / "out"))
    rows = duckdb.sql(
        f"""
        SELECT id, source_fingerprint, CASE WHEN n > 1 THEN first END AS "group",
               CASE WHEN id <> first THEN 'bytes' END AS rung, CASE WHEN id <> first THEN first END AS duplicate_of,
               CASE WHEN id <> first THEN 1.0 END AS cosine, id = first AS keep
        FROM (SELECT id, source_fingerprint, min(id) OVER same AS first, count(*) OVER same AS n
              FROM '{out}/embeddings/**/*.parquet' WINDOW same AS (PARTITION BY image_sha256))
        """
    ).to_arrow_table()
    write_table(dedup_uri(str(out)), DEDUP, [rows.cast(DEDUP)], {})
    with filtering(str(out), RULES, None, lambda *_: None) as (filtered, work):
        write_tables(tables_folder(str(out), "clean"), filtered, work)
    return out


def test_the_page_matches_the_files(demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, result = report(demo, tmp_path / "report.html", capsys)
    rows = f"'{demo}/embeddings/**/*.parquet'"
    [(embedded,)] = duckdb.sql(f"SELECT count(*) FROM {rows}").fetchall()
    reasons = dict(duckdb.sql(f"SELECT reason, count(*) FROM '{demo}/_quarantine/**/*.parquet' GROUP BY 1").fetchall())
    planned = duckdb.sql(f"SELECT count(DISTINCT id) FROM '{demo}/_runs/*/records/*.parquet'").fetchall()[0][0]
    numbers = [page.number(f"total-{name}") for name in ("planned", "embedded", "quarantined", "open", "current")]
    assert numbers == [planned, embedded, sum(reasons.values()), 0, embedded]
    assert planned == embedded + sum(reasons.values()) == 1945
    assert "It adds up" in page.texts["counts"]
    for reason, count in reasons.items():
        assert re.search(rf"{reason}\D*{count}\D", page.texts["reasons"])
    for place, direction in ((slice(0, 18), ""), (slice(36, 54), "DESC")):
        known = duckdb.sql(  # one of each group of duplicates
            f"""
            SELECT id, text FROM {rows} JOIN '{dedup_uri(str(demo))}' AS dedup USING (id, source_fingerprint)
            WHERE similarity IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY coalesce(dedup."group", id) ORDER BY similarity {direction}, id) = 1
            ORDER BY similarity {direction}, id LIMIT 18
            """
        ).fetchall()
        assert [(card["rid"], card["text"]) for card in page.cards["similarity"][place]] == known
    assert (result["rows"], result["gaps"]) == (embedded, 0)


def test_wrong_captions_are_shown_among_the_lowest_similarities(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = report(demo, tmp_path / "report.html", capsys)
    flaws = json.loads((ROOT / "demo" / "imperfections.json").read_text(encoding="utf-8"))
    wrong = {flaw["key"] for flaw in flaws["wrong_captions"]}
    lowest = {card["rid"].rpartition("/")[2] for card in page.cards["similarity"][:18]}
    print(f"{len(lowest & wrong)} of the {len(lowest)} lowest have a planted wrong caption")
    assert len(lowest & wrong) >= 14
    rows = duckdb.sql(
        f"SELECT id, similarity FROM '{demo}/embeddings/**/*.parquet' WHERE similarity IS NOT NULL"
    ).fetchall()
    is_wrong = np.array([id_.rpartition("/")[2] in wrong for id_, _ in rows])
    value = np.array([similarity for _, similarity in rows])
    below, equal = (compare(value[is_wrong][:, None], value[~is_wrong]) for compare in (np.less, np.equal))
    area = float((below + 0.5 * equal).mean())
    print(f"area under the ROC curve of {is_wrong.sum()} wrong captions by similarity: {area:.4f}")
    assert area >= 0.9


def test_duplicates_and_filters_are_counted_and_shown(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, _ = report(demo, tmp_path / "report.html", capsys)
    table = f"'{dedup_uri(str(demo))}'"
    [(dropped, groups)] = duckdb.sql(
        f'SELECT count(*) FILTER (NOT keep), count(DISTINCT "group") FROM {table}'
    ).fetchall()
    assert (page.number("dedup-dropped"), page.number("dedup-groups")) == (dropped, groups)
    marked = {card["rid"] for card in page.cards["duplicates"] if card["marked"] == "True"}
    assert marked
    assert marked <= {id_ for (id_,) in duckdb.sql(f"SELECT id FROM {table} WHERE keep AND \"group\" <> ''").fetchall()}
    copies = {card["rid"] for card in page.cards["duplicates"]} - marked
    assert copies <= {id_ for (id_,) in duckdb.sql(f"SELECT id FROM {table} WHERE NOT keep").fetchall()}
    pairs = set(duckdb.sql(f"SELECT duplicate_of, id FROM {table} WHERE NOT keep").fetchall())
    for order in ("near", "size"):
        pages = [Page(path) for path in sorted((tmp_path / "report-duplicates").glob(f"{order}-*.html"))]
        cards = [card for one in pages for card in one.cards["groups"]]
        listed, kept_id = set(), ""
        for card in cards:
            kept_id = card["rid"] if card["marked"] == "True" else kept_id
            listed |= {(kept_id, card["rid"])} if card["marked"] == "False" else set()
        assert listed == pairs
        for one in pages:
            one.check_self_contained()
    rows = f"'{demo}/embeddings/**/*.parquet'"
    joined = f"FROM {rows} JOIN {table} USING (id, source_fingerprint)"
    [(kept, fits, alone)] = duckdb.sql(
        f"""
        SELECT count(*) FILTER (similarity >= 0.25 AND keep), count(*) FILTER ((similarity >= 0.25) IS NOT TRUE),
               count(*) FILTER (similarity >= 0.25 AND NOT keep) {joined}
        """
    ).fetchall()
    assert f"1,928 rows = {kept:,} kept + {fits + alone:,} dropped" in page.texts["kept"]
    assert f"fitssimilarity>=0.25{fits}" in "".join(page.texts["kept"].split())
    assert f"alonekeep{alone}" in "".join(page.texts["kept"].split())


def test_the_page_is_self_contained_small_and_reproducible(
    demo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, result = report(demo, tmp_path / "report.html", capsys)
    page.check_self_contained()
    pictures = page.pictures()
    assert len(pictures) == sum(map(len, page.cards.values()))
    assert {picture.format for picture in pictures} == {"WEBP"}
    assert all(max(picture.size) <= 320 for picture in pictures)
    assert (tmp_path / "report.html").stat().st_size == result["size_bytes"] < 5_000_000
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections == [
        *("sample", "counts", "quarantine", "similarity", "duplicates"),
        *("kept", "clusters", "map", "images", "texts", "columns", "speed", "provenance"),
    ]
    assert all(
        words in page.texts["clusters"] for words in ("all 1,928 image vectors", "A guess: 笑脸", "No word fits")
    )
    identity = Dataset.open(str(demo)).identity
    assert identity.weights_sha256 in page.texts["provenance"]
    (tmp_path / "again").mkdir()
    again, _ = report(demo, tmp_path / "again" / "report.html", capsys)
    assert again.source == page.source


def without_images(rows: pa.Table, folder: Path) -> pa.Table:
    """The rows with image URIs that do not exist."""
    uris = pa.array([f"{folder}/gone/{id_}.jpg" for id_ in rows["id"].to_pylist()])
    return rows.set_column(rows.column_names.index("image_uri"), "image_uri", uris)


def test_captions_and_ids_are_escaped_and_missing_pictures_are_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    rows = without_images(embedded_rows(some_records(40), dataset.identity), tmp_path)
    bad = "</title></style><script>alert('字')</script><img src=x onerror=alert(1)>\"'"
    for name in ("id", "text"):
        values = [f"{bad}{value}" for value in rows[name].to_pylist()]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    dataset.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(40))
    for number in (1, 2, 3):
        folder = tmp_path / "out" / "_runs" / f"20261121T01000{number}.000Z-abcdef"
        folder.mkdir(parents=True)
        stats = {"embedded": 100 * number, "quarantined": {"timeout": 7}}
        summary = {"state": "complete", "exit_code": 0, "rows_planned": 100 * number + 7, "stats": stats}
        seconds = {
            "seconds": 20.0,
            "startup_s": 10.0,
            "bottleneck": {"stage": "read", "busy": {"read": 0.9}, "advice": bad},
        }
        (folder / "summary.json").write_text(json.dumps({**summary, **seconds}), encoding="utf-8")
    page, result = report(dataset.uri, tmp_path / "report.html", capsys)
    page.check_self_contained()
    assert (result["pictures"], result["gaps"]) == (40, 40)
    cards = page.cards["similarity"]
    assert all(card["rid"].startswith(bad[:19]) and card["text"].startswith(bad) for card in cards)
    assert {card["gap"] for card in cards} == {"not found"}
    assert "40 of 40 pictures could not be read again" in page.texts["gaps"]
    assert "not found 40" in page.texts["gaps"]
    assert not page.pictures()
    assert "It does not add up" in page.texts["counts"]
    assert "30.7" in page.texts["runs"]
    assert page.texts["runs"].count("yes") == 3
    assert "30.7 records/s in the fastest run" in page.texts["speed"]
    assert "Not looked for yet" in page.texts["duplicates"]


def test_datasets_without_texts_images_or_rows_have_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = Dataset.open_or_create(str(tmp_path / "images"), an_identity(has_texts=False))
    rows = without_images(embedded_rows(some_records(150), images.identity), tmp_path)
    images.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(150))
    page, _ = report(images.uri, tmp_path / "images.html", capsys)
    sections = {attrs["id"] for tag, attrs in page.tags if tag == "section"}
    assert not {"similarity", "texts"} & sections
    assert "the model could not be loaded" in page.texts["clusters"]
    empty = Dataset.open_or_create(str(tmp_path / "empty"), an_identity())
    page, result = report(empty.uri, tmp_path / "empty.html", capsys)
    page.check_self_contained()
    assert result["rows"] == page.number("total-current") == 0
    texts = Dataset.open_or_create(str(tmp_path / "texts"), an_identity(has_images=False))
    rows = embedded_rows(some_records(10), texts.identity)
    texts.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(10))
    page, result = report(texts.uri, tmp_path / "texts.html", capsys)
    assert result["pictures"] == 0
    assert "10 distinct texts" in page.texts["texts"]


def test_long_captions_keep_the_page_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    rows = without_images(embedded_rows(some_records(30), dataset.identity), tmp_path)
    long = pa.array([f"{number:02d}" + "长" * 100_000 for number in range(30)])
    rows = rows.set_column(rows.column_names.index("text"), "text", long)
    dataset.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(30))
    page, result = report(dataset.uri, tmp_path / "report.html", capsys)
    assert {len(card["text"]) for card in page.cards["similarity"]} == {300}
    assert int(str(result["size_bytes"])) < 400_000


def test_an_unreachable_store_leaves_out_the_pictures_quickly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:  # bound but not listening: connections are refused
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            monkeypatch.setenv(name, "none")
        dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
        rows = embedded_rows(some_records(5), dataset.identity)
        uris = pa.array([f"s3://down-for-pages/{number}.jpg" for number in range(5)])
        rows = rows.set_column(rows.column_names.index("image_uri"), "image_uri", uris)
        dataset.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(5))
        began_s = time.monotonic()
        page, result = report(dataset.uri, tmp_path / "report.html", capsys)
    assert time.monotonic() - began_s < patience(45)
    assert result["gaps"] == 5
    assert "5 of 5 pictures could not be read again" in page.texts["gaps"]
