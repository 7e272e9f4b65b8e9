"""Test `hanclip filter` against independent counts: kept and dropped rows, the reasons, and the outputs."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipeline.curation.export.contract import ExportRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.export.registry import exporter
from pipeline.curation.filter.run import filter_rows
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.tables import read_facts, write_table
from pipeline.curation.tars.sample import key_of
from pipeline.dataset import Dataset, latest
from pipeline.dataset.schema import QUARANTINE
from tests.fixtures.commands import Run
from tests.fixtures.datasets import DIM, an_identity, commit, embedded_rows, provenance, some_records
from tests.fixtures.embedded_sources import embed, folder
from tests.fixtures.places import ROOT
from tests.fixtures.processes import patience
from tests.fixtures.servers.s3 import S3Server
from tests.fixtures.sources import read as read_source
from tests.fixtures.sources import scan

Row = dict[str, Any]
CATALOG = ROOT / "demo" / "catalog"
WHERE = "similarity >= 0.28 and image_width >= 60 and keep"


@pytest.fixture(scope="module")
def rows(demo_dataset: Path) -> list[Row]:
    """The latest rows by id, with the values of the derived tables of `out`."""
    table = latest(str(demo_dataset)).read_all().drop_columns(["image_embedding", "text_embedding"]).sort_by("id")
    return [
        {**row, "keep": unit_hash(row["id"]) > 0.2, "label": f"类{unit_hash(row['id']):.1f}"}
        for row in table.to_pylist()
    ]


@pytest.fixture
def out(demo_dataset: Path, rows: list[Row], tmp_path: Path) -> Path:
    """The demo catalog with tables of duplicates and of labels."""
    out = tmp_path / "out"
    shutil.copytree(demo_dataset, out)
    derived(out / "dedup" / "dedup.parquet", rows, keep=pa.bool_())
    derived(out / "classes" / "classes.parquet", rows, label=pa.string())
    derived(out / "classes" / "brand.parquet", rows, label=pa.string())
    return out


def unit_hash(id_: str) -> float:
    """A pseudo-random number from 0 to 1, fixed for each id."""
    return int(hashlib.sha256(id_.encode()).hexdigest()[:8], 16) / 2**32


def derived(path: Path, rows: Iterable[Row], **columns: pa.DataType) -> None:
    """Write a derived table with these columns of `rows`."""
    schema = pa.schema([("id", pa.string()), ("source_fingerprint", pa.string()), *columns.items()])
    write_table(str(path), schema, [pa.Table.from_pylist(list(rows), schema=schema)], {})


def passes(row: Row) -> bool:
    """WHERE, in Python."""
    return (
        row["similarity"] is not None
        and row["similarity"] >= np.float32(0.28)
        and row["image_width"] >= 60
        and row["keep"]
    )


def ids(path: Path) -> list[str]:
    found: list[str] = pq.read_table(path)["id"].to_pylist()
    return found


def test_kept_and_dropped_are_all_rows(out: Path, rows: list[Row], hanclip: Run) -> None:
    result = hanclip("filter", out, "--where", WHERE)
    kept, dropped = (pq.read_table(out / "filter" / "default" / f"{name}.parquet") for name in ("kept", "dropped"))
    assert sorted(kept["id"].to_pylist()) == [row["id"] for row in rows if passes(row)]
    assert sorted(dropped["id"].to_pylist()) == [row["id"] for row in rows if not passes(row)]
    assert 0 < result["kept"] == kept.num_rows
    assert result["kept"] + result["dropped"] == result["rows"] == len(rows)
    assert kept.column_names == ["id", "source_fingerprint"]
    facts = read_facts(str(out / "filter" / "default" / "kept.parquet"))
    assert facts is not None
    assert facts["rules"] == [{"name": "where", "sql": WHERE}]


RULES = {
    "matching": (
        "similarity >= 0.45",
        lambda row: None if row["similarity"] is None else row["similarity"] >= np.float32(0.45),
    ),
    "unique": ("dedup_keep", lambda row: row["keep"]),
    "no red": (
        "text not like '%红%' -- as in 红裙",
        lambda row: None if row["text"] is None else "红" not in row["text"],
    ),
    "brands": ("brand_label = label and classes_label <> '类0.3'", lambda row: row["label"] != "类0.3"),
    "twitter's": ("vendor = 'twemoji' and rows.run_date > date '2020-01-01'", lambda row: row["vendor"] == "twemoji"),
}


def test_every_rule_counts_what_it_drops_alone_and_with_others(
    out: Path, rows: list[Row], hanclip: Run, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        "rules:\n" + "".join(f"  {name}: |-\n    {sql}\n" for name, (sql, _) in RULES.items()), encoding="utf-8"
    )
    result = hanclip("filter", out, "--rules", file, "--name", "strict")
    verdicts = [[judge(row) for _, judge in RULES.values()] for row in rows]
    failed = [[place for place, value in enumerate(values) if not value] for values in verdicts]
    for place, (name, rule) in enumerate(zip(RULES, result["rules"], strict=True)):
        assert (rule["name"], rule["dropped"]) == (name, sum(place in places for places in failed))
        assert rule["first"] == sum(places[:1] == [place] for places in failed)
        assert rule["alone"] == sum(places == [place] for places in failed)
        assert rule["unknown"] == sum(values[place] is None for values in verdicts)
    assert sum(rule["first"] for rule in result["rules"]) == result["dropped"] == sum(bool(places) for places in failed)
    assert result["rules"][0]["unknown"] > 0
    names = list(RULES)
    for pair in result["together"]:
        both = {names.index(name) for name in pair["rules"]}
        assert pair["dropped"] == sum(both <= set(places) for places in failed)
    dropped = {row["id"]: row for row in pq.read_table(out / "filter" / "strict" / "dropped.parquet").to_pylist()}
    for row, values, places in zip(rows, verdicts, failed, strict=True):
        if places:
            mine = dropped[row["id"]]
            assert (mine["rule"], mine["rules"]) == (names[places[0]], [names[place] for place in places])
            assert mine["unknown"] == [names[place] for place, value in enumerate(values) if value is None]


INVALID = [
    (
        "text like '%红%' and simlarity > 0",
        "text like '%红%' and simlarity > 0\n                       ^^^^^^^^^\nDid you mean similarity",
    ),
    ("similarity >=\n  and keep", '"and".\n    and keep\n    ^^^\n'),
    ("keep and", "it ends too early"),
    ("chance < 0.01", "Run `hanclip similarity {out}` first"),
    ("similarity >= 'high'", "Could not convert string 'high' to FLOAT"),
    ("cast(vendor as int) > 3", "Could not convert string"),
    ("similarity", "gives FLOAT, not true or false"),
    ("sum(similarity) > 1", "sum is an aggregate over many rows"),
    ("random() > 0.5", "another value at every call"),
    ("row_number() over () < 9", "holds no window"),
    ("true; drop table rows", 'syntax error at or near ";"'),
    ("true) from read_csv('/etc/passwd') where (true", "not a single expression"),
    ("true) union all select (true", "not a single expression"),
    ("true), (true", "several expressions"),
    ("exists (from read_text('/etc/passwd'))", "holds no query"),
    ("id in (select id from rows)", "holds no query"),
    ("read_text('/etc/passwd') = ''", "is a table function"),
    ("columns(*) is not null", "one by one"),
    ("$1", "no parameters"),
    ("geomean(similarity) > 1", "cannot contain aggregates"),
    ("unnest(case when keep then [true, true] else [] end)", "UNNEST not supported"),
    ("rows::varchar like '%twemoji%'", "one by one"),
]


@pytest.mark.parametrize(("where", "message"), INVALID, ids=[where for where, _ in INVALID])
def test_an_invalid_rule_is_refused_with_the_place_of_its_error(
    where: str, message: str, out: Path, hanclip: Run
) -> None:
    result = hanclip("filter", out, "--where", where, code=2)
    assert message.format(out=out) in result["message"]
    assert "rule where" in result["message"]
    assert not (out / "filter").exists()


def test_a_missing_stale_or_duplicated_table_is_refused(out: Path, rows: list[Row], hanclip: Run) -> None:
    path = out / "dedup" / "dedup.parquet"
    derived(path, rows[:-5], keep=pa.bool_())
    result = hanclip("filter", out, "--where", "keep", code=2)
    assert f"lacks 5 of the {len(rows):,} rows" in result["message"]
    assert f"run `hanclip dedup {out}` first" in result["message"]
    derived(path, [*rows, {**rows[0], "id": "gone since"}], keep=pa.bool_())
    assert "1 row that the dataset no longer has" in hanclip("filter", out, "--where", "keep", code=2)["message"]
    derived(path, [*rows, rows[0]], keep=pa.bool_())
    assert "1 row more than once" in hanclip("filter", out, "--where", "keep", code=2)["message"]
    path.unlink()
    assert f"Run `hanclip dedup {out}` first" in hanclip("filter", out, "--where", "keep", code=2)["message"]
    hanclip("filter", out, "--where", "similarity > 0.3", "--dry-run")
    assert not (out / "filter").exists()


def test_a_threshold_keeps_the_share_and_all_ties(out: Path, rows: list[Row], hanclip: Run) -> None:
    result = hanclip("filter", out, "--where", "keep", "--threshold-for", "keep=30%")
    values = sorted((row["similarity"] for row in rows if row["keep"] and row["similarity"] is not None), reverse=True)
    kept = sum(row["keep"] for row in rows)
    assert result["threshold"]["value"] == values[int(0.3 * kept + 0.5) - 1]
    assert (result["threshold"]["rows"], result["threshold"]["without_value"]) == (kept, kept - len(values))
    again = hanclip("filter", out, "--where", f"keep and {result['rules'][1]['sql']}", "--dry-run")
    assert again["kept"] == result["kept"] == sum(value >= result["threshold"]["value"] for value in values)
    widths = hanclip("filter", out, "--threshold-for", "image_width keep=1%")
    most = max(row["image_width"] for row in rows)
    assert widths["kept"] >= 0.01 * len(rows)
    assert widths["threshold"]["equal"] == sum(row["image_width"] == widths["threshold"]["value"] for row in rows)
    assert widths["threshold"]["value"] <= most
    assert "no numbers" in hanclip("filter", out, "--threshold-for", "vendor keep=1%", code=2)["message"]
    assert "write keep=30%" in hanclip("filter", out, "--threshold-for", "half", code=2)["message"]


def test_the_rows_read_are_counted_once(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for number in range(3):
        commit(dataset, number, some_records(10, first=10 * number))
    reported: list[int] = []
    settings = FilterSettings(where="image_width > 1")
    filter_rows(
        dataset.uri, settings, lambda doing, done, _: reported.append(done) if doing == "Reading rows" else None
    )
    assert reported == sorted(reported)
    assert (len(reported) > 1, reported[-1]) == (True, 30)


def test_a_threshold_on_any_numeric_column(tmp_path: Path, hanclip: Run) -> None:
    extra = pa.schema([("order", pa.int32()), ("price", pa.float64())])
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(extra=extra))
    records = some_records(40)
    table = embedded_rows(records, an_identity())
    prices = [[1.5, None, float("nan"), float("inf")][n % 4] for n in range(40)]
    table = table.append_column("order", pa.array(range(40), pa.int32())).append_column("price", pa.array(prices))
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(40))
    assert hanclip("filter", dataset.uri, "--threshold-for", "order keep=30%")["kept"] == 12
    every, infinite = (hanclip("filter", dataset.uri, "--threshold-for", f"price keep={n}%") for n in (100, 10))
    assert (every["kept"], every["threshold"]["without_value"]) == (20, 20)
    assert (infinite["kept"], infinite["threshold"]["equal"]) == (10, 10)
    for rule in (every["rules"][-1]["sql"], infinite["rules"][-1]["sql"]):
        assert hanclip("filter", dataset.uri, "--where", rule)["kept"] in (10, 20)


def test_rules_may_use_vectors_of_either_type_even_if_some_are_missing(tmp_path: Path, hanclip: Run) -> None:
    for dtype in ("float16", "float32"):
        dataset = Dataset.open_or_create(str(tmp_path / dtype), an_identity(embedding_dtype=dtype))
        table = embedded_rows(some_records(40), an_identity())
        place, texts = table.column_names.index("text_embedding"), table["text_embedding"].combine_chunks()
        bare = pa.array([n % 4 == 0 for n in range(40)])
        texts = pa.FixedSizeListArray.from_arrays(texts.values, DIM, mask=bare)
        table = table.set_column(place, "text_embedding", texts)
        dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(40))
        result = hanclip("filter", dataset.uri, "--where", "array_inner_product(image_embedding, text_embedding) > 0.1")
        wanted = sum(value > 0.1 for n, value in enumerate(table["similarity"].to_pylist()) if n % 4)
        assert (result["kept"], result["rules"][0]["unknown"]) == (wanted, 10)
        assert hanclip("filter", dataset.uri, "--where", "image_width > 1")["kept"] == 40


def test_the_kept_rows_are_written_as_a_dataset(out: Path, rows: list[Row], hanclip: Run, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    result = hanclip("filter", out, clean, "--as", "dataset", "--where", WHERE)
    report = hanclip("verify", clean)
    assert report["ok"]
    assert report["complete"]
    wanted = [row["id"] for row in rows if passes(row)]
    assert result["written"]["written"] == report["embedded"] == len(wanted)
    assert sorted(latest(str(clean), ["id"]).read_all()["id"].to_pylist()) == wanted
    whole, some = (latest(str(place)).read_all().drop_columns(["run_date"]) for place in (out, clean))
    kept = whole.filter(pa.compute.is_in(whole["id"], pa.array(wanted))).sort_by("id")
    assert some.sort_by("id").equals(kept)
    assert (clean / "_dataset.json").read_text() == (out / "_dataset.json").read_text()
    other = hanclip("filter", out, clean, "--as", "dataset", "--where", "not keep", code=2)
    assert "snapshot of other rows" in other["message"]


def samples(place: Path) -> dict[str, dict[str, bytes]]:
    """Members of all tars, by key and suffix."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(place.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                content = tar.extractfile(member)
                assert content is not None
                assert suffix not in found.setdefault(key, {})
                found[key][suffix] = content.read()
    return found


def test_the_kept_rows_are_written_as_tars_of_the_source_bytes(
    out: Path, rows: list[Row], hanclip: Run, tmp_path: Path
) -> None:
    place = tmp_path / "tars"
    result = hanclip("filter", out, place, "--as", "tars", "--tar-rows", 300, "--where", WHERE)
    source = samples(CATALOG)
    wanted = {row["id"]: row for row in rows if passes(row)}
    assert result["written"]["written"] == result["kept"] == len(wanted)
    assert result["written"]["failed"] == 0
    assert len(list(place.glob("*.tar"))) == -(-len(wanted) // 300)
    found = samples(place)
    assert set(found) == set(wanted)
    for key, parts in found.items():
        (image,) = (content for suffix, content in parts.items() if suffix not in ("txt", "json"))
        assert image in source[key].values()
        metadata = json.loads(parts["json"])
        assert metadata["hanclip"]["similarity"] == pytest.approx(wanted[key]["similarity"])
        assert (parts["txt"].decode(), metadata["vendor"]) == (wanted[key]["text"], wanted[key]["vendor"])
    spec, records = scan(place)
    again = read_source(spec, records)
    assert {id_: raw.text for id_, raw in again.items()} == {id_: row["text"] for id_, row in wanted.items()}
    unread = out / "filter" / "default" / "unread.parquet"
    assert ids(unread) == []


def test_all_rows_are_exported_as_tars(out: Path, rows: list[Row], hanclip: Run, tmp_path: Path) -> None:
    by_rule, all_of_them = tmp_path / "by_rule", tmp_path / "all"
    hanclip("filter", out, by_rule, "--as", "tars", "--tar-rows", 700, "--where", "true")
    result = hanclip("export", out, all_of_them, "--to", "webdataset", "--rows-per-file", 700)
    assert (result["rows"], result["left_out"]) == (len(rows), 0)
    assert samples(all_of_them) == samples(by_rule)
    assert len(list(all_of_them.glob("*.tar"))) == -(-len(rows) // 700)
    refused = hanclip("export", out, all_of_them, "--to", "webdataset", "--vectors", "image", code=2)
    assert "webdataset does not use --vectors" in refused["message"]


def test_unreadable_images_are_listed(tmp_path: Path, hanclip: Run) -> None:
    source, out, place = folder(tmp_path / "source"), tmp_path / "out", tmp_path / "tars"
    embed(source, out)
    gone, changed, *_ = sorted(source.images)
    (source.uri / gone).unlink()
    (source.uri / changed).write_bytes(b"another")
    for form in ("tars", "dataset"):
        inside = hanclip("filter", out, source.uri / "clean", "--as", form, "--where", "true", code=2)
        assert "would read the output as records" in inside["message"]
    result = hanclip("filter", out, place, "--as", "tars", "--tar-bytes", 20_000, "--where", "image_width > 0")
    assert result["written"]["reasons"] == {"not_found": 1, "changed": 1}
    assert result["written"]["written"] + result["written"]["failed"] == result["kept"] == len(source.images)
    assert ids(out / "filter" / "default" / "unread.parquet") == [gone, changed]
    result = hanclip("export", out, tmp_path / "all", "--to", "webdataset")
    assert (result["rows"], result["left_out"]) == (len(source.images) - 2, 2)
    for dest in ("all", "afresh"):  # resumed and new tars
        rows: list[int] = []
        exporter("webdataset")(ExportRequest(str(out), str(tmp_path / dest), ExportOptions(), rows.append))
        assert sum(rows) == len(source.images)
    inside = hanclip("export", out, source.uri / "clean", "--to", "webdataset", code=2)
    assert "would read the output as records" in inside["message"]
    found = samples(place)
    wanted = {key_of(id_): image for id_, image in source.images.items() if id_ not in (gone, changed)}
    assert {key: parts["jpg"] for key, parts in found.items()} == wanted
    assert {json.loads(parts["json"])["hanclip"]["id"] for parts in found.values()} == set(source.images) - {
        gone,
        changed,
    }
    sizes = [path.stat().st_size for path in sorted(place.glob("*.tar"))]
    assert len(sizes) > 2
    assert min(sizes[:-1]) >= 20_000
    hanclip("filter", out, "--where", "true")
    assert not (out / "filter" / "default" / "unread.parquet").exists()


def test_keys_are_safe_and_distinct() -> None:
    names = [
        "a",
        "shelf/a",
        "a.jpg",
        "a.png",
        "shelf/a.jpg",
        "../a",
        "/a",
        "__a__",
        "红 裙",
        "红裙",
        "a" * 300,
        "a:b",
        "..",
    ]
    names += [key_of("a.jpg"), "https://shop.example/a.jpg?x=1", "https://shop.example/a.jpg?x=2", "a\n", "."]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert keys[:2] == ["a", "shelf/a"]
    assert keys[9] == "红裙"
    assert all("." not in key and ".." not in key and not key.startswith(("/", "__")) for key in keys)
    assert max(len(key.encode()) for key in keys) <= 200


def test_conflicting_options_are_refused(out: Path, hanclip: Run, tmp_path: Path) -> None:
    assert "No rule was given" in hanclip("filter", out, code=2)["message"]
    assert "needs a folder" in hanclip("filter", out, "--where", "keep", "--as", "tars", code=2)["message"]
    (tmp_path / "link").symlink_to(out)
    for place in (out / "tars", tmp_path / "link" / "tars"):
        inside = hanclip("filter", out, place, "--where", "keep", "--as", "tars", code=2)
        assert "or lies inside it" in inside["message"]
    for place in (out, out / "embeddings", out / "classes", tmp_path / "link" / "classes"):
        assert "among the files" in hanclip("filter", out, place, "--where", "keep", code=2)["message"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    full = hanclip("filter", out, tmp_path / "full", "--where", "keep", "--as", "tars", code=2)
    assert "is not empty" in full["message"]
    (tmp_path / "rules.yaml").write_text("rules:\n  - keep\n")
    assert "rules:\n  matching" in hanclip("filter", out, "--rules", tmp_path / "rules.yaml", code=2)["message"]


KILL_AFTER = {
    "tars": [("_tars.json",), ("_tars", "000003.json")],
    "dataset": [("_snapshot.json",), ("embeddings", "run_date=*", "*.parquet")],
}


@pytest.mark.parametrize("form", KILL_AFTER)
def test_a_killed_run_resumes_to_the_same_output(form: str, out: Path, hanclip: Run, tmp_path: Path) -> None:
    options = ["--as", form, "--where", WHERE, "--tar-rows", 10]
    undisturbed, place = tmp_path / "undisturbed", tmp_path / "killed"
    hanclip("filter", out, undisturbed, *options)
    for pattern in KILL_AFTER[form]:
        command = [sys.executable, "-m", "flows.cli", "filter", str(out), str(place), *map(str, options)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
            deadline = time.monotonic() + patience(60)
            while child.poll() is None and not list(place.glob("/".join(pattern))) and time.monotonic() < deadline:
                time.sleep(0.005)
            child.send_signal(signal.SIGKILL)
    hanclip("filter", out, place, *options)
    if form == "tars":
        files = {path.relative_to(undisturbed): path.read_bytes() for path in undisturbed.rglob("*") if path.is_file()}
        assert files == {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        return
    assert hanclip("verify", place)["complete"]
    one, other = (latest(str(folder)).read_all().sort_by("id") for folder in (undisturbed, place))
    assert one.equals(other)
    names = [
        sorted(path.name for path in (folder / "embeddings").rglob("*.parquet")) for folder in (undisturbed, place)
    ]
    assert names[0] == names[1]


def test_the_printed_summary_accounts_for_every_row(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["filter", str(out), "--where", WHERE, "--threshold-for", "keep=50%", "--dry-run"])
    shown = capsys.readouterr().out
    assert "nothing was written" in shown
    assert "kept (" in shown
    assert "dropped" in shown
    assert "keeps" in shown


def test_everything_works_in_a_bucket(s3: S3Server, tmp_path: Path, hanclip: Run) -> None:
    source, bucket = folder(tmp_path / "source"), s3.bucket()
    out = f"{bucket}/out"
    embed(source, out)
    result = hanclip("filter", out, f"{bucket}/tars", "--as", "tars", "--tar-rows", 30, "--where", "similarity > -2")
    assert (result["written"]["written"], result["written"]["tars"]) == (len(source.images), 2)
    _, records = scan(f"{bucket}/tars")
    assert {record.id for record in records} == {key_of(id_) for id_ in source.images}
    hanclip("filter", out, f"{bucket}/clean", "--as", "dataset", "--where", "similarity > -2")
    assert len(latest(f"{bucket}/clean", ["id"]).read_all()) == len(source.images)
