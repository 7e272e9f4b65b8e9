"""Test `hanclip similarity` against independent implementations of its definitions."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipeline.curation.similarity.query import stored
from pipeline.curation.vectors import IMAGE
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.records import Record
from tests.fixtures.commands import Run
from tests.fixtures.datasets import an_identity, commit, some_records, unit_vectors
from tests.fixtures.reference_texts import logit_scale, text_vectors


@pytest.fixture(scope="module")
def out(demo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable copy of the embedded demo catalog."""
    copy = tmp_path_factory.mktemp("similarity") / "out"
    shutil.copytree(demo_dataset, copy)
    return copy


@pytest.fixture(scope="module")
def rows(demo_dataset: Path) -> pa.Table:
    """Its rows, sorted by id."""
    return pq.read_table(demo_dataset / "embeddings").sort_by("id")


def vectors(rows: pa.Table, name: str) -> np.ndarray:
    return np.stack(rows[name].to_numpy())


def mismatched(rows: pa.Table) -> np.ndarray:
    """Ascending cosines of every image with every text other than its own."""
    texts = np.array(rows["text"].to_pylist())
    cosines = vectors(rows, "image_embedding") @ vectors(rows, "text_embedding").T
    return np.sort(cosines[texts[:, None] != texts[None, :]])


def chance(values: np.ndarray, null: np.ndarray) -> np.ndarray:
    return (1 + len(null) - np.searchsorted(null, values)) / (1 + len(null))


def test_the_table_ranks_every_pair_within_its_dataset(out: Path, rows: pa.Table, hanclip: Run) -> None:
    result = hanclip("similarity", out)
    pairs = rows.filter(rows["similarity"].is_valid())
    stored = pairs["similarity"].to_numpy()
    assert len(np.unique(stored)) < len(stored)  # copies in the catalog tie
    lower = (stored[None, :] < stored[:, None]).sum(1)
    same = (stored[None, :] == stored[:, None]).sum(1)
    null = mismatched(pairs)

    table = pq.read_table(out / "similarity" / "similarity.parquet").sort_by("id")
    assert table["id"].to_pylist() == pairs["id"].to_pylist()
    assert table["source_fingerprint"].to_pylist() == pairs["source_fingerprint"].to_pylist()
    np.testing.assert_array_equal(table["similarity"], stored)
    np.testing.assert_allclose(table["logit"], stored * logit_scale(), rtol=1e-6)
    np.testing.assert_allclose(table["percentile"], 100 * (lower + same / 2) / len(stored), rtol=1e-12)
    np.testing.assert_allclose(table["chance"], chance(stored, null), atol=5e-6)

    assert (result["rows"], result["pairs"], result["pairs_sampled"]) == (1928, 1920, len(null))
    assert result["chance_mean"] == pytest.approx(null.mean(dtype=float), abs=1e-6)
    assert result["chance_std"] == pytest.approx(null.std(dtype=float), abs=1e-6)
    by_id = dict(zip(pairs["id"].to_pylist(), pairs.to_pylist(), strict=True))
    for point in result["points"]:
        value = np.sort(stored)[int(point["percent"] / 100 * (len(stored) - 1))]
        assert point["similarity"] == pytest.approx(value)
        assert by_id[point["id"]]["similarity"] == pytest.approx(value)
        assert by_id[point["id"]]["text"] == point["text"]
    first = (out / "similarity" / "similarity.parquet").read_bytes()
    hanclip("similarity", out)
    assert (out / "similarity" / "similarity.parquet").read_bytes() == first


def test_chance_is_drawn_by_digest_from_the_current_rows(tmp_path: Path, hanclip: Run) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for shard in range(40):
        commit(dataset, 39 - shard, some_records(80, first=80 * shard))
    newer = [replace(record, source_fingerprint="newer") for record in some_records(1600)]
    commit(dataset, 40, newer, run_date="2026-11-22")
    result = hanclip("similarity", tmp_path / "out")
    among = [*newer, *some_records(1600, first=1600)]
    among.sort(key=lambda r: hashlib.blake2b(f"{r.id}\0{r.source_fingerprint}".encode(), digest_size=8).digest())
    ids = [record.id for record in among[:2048]]
    cosines = unit_vectors(ids, 8, "image") @ unit_vectors(ids, 8, "text").T
    null = np.sort(cosines[~np.eye(2048, dtype=bool)])
    assert (result["records_sampled"], result["pairs_sampled"]) == (2048, 2048 * 2047)
    table = pq.read_table(tmp_path / "out" / "similarity" / "similarity.parquet")
    assert table.num_rows == 3200
    np.testing.assert_allclose(table["chance"], chance(table["similarity"].to_numpy(), null), atol=5e-6)


def test_one_image_against_given_texts(out: Path, rows: pa.Table, hanclip: Run, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("西瓜\n汽车\n\n一只猫\n", encoding="utf-8")
    row = rows["id"].to_pylist().index("twemoji-1f348")
    other = next(i for i, text in enumerate(rows["text"].to_pylist()) if text and i != row)
    other_id, other_text = rows["id"][other].as_py(), rows["text"][other].as_py()
    command = ("similarity", out, "--image", "twemoji-1f348")
    result = hanclip(*command, "--text", "甜瓜", "--texts", tmp_path / "texts.txt", "--text-id", other_id)
    texts = ["甜瓜", "西瓜", "汽车", "一只猫"]
    all_texts = np.vstack([text_vectors(texts), vectors(rows.slice(other, 1), "text_embedding")])
    cosines = all_texts.astype(float) @ vectors(rows.slice(row, 1), "image_embedding")[0]
    odds = np.exp(logit_scale() * cosines)
    pairs = rows.filter(rows["similarity"].is_valid())
    null, own = mismatched(pairs), pairs["similarity"].to_numpy()
    order = np.argsort(-cosines)
    assert [m["text"] for m in result["matches"]] == [[*texts, other_text][i] for i in order]
    assert {m["text"]: m["id"] for m in result["matches"]}[other_text] == other_id
    for match, at in zip(result["matches"], order, strict=True):
        assert match["cosine"] == pytest.approx(cosines[at], abs=1e-6)
        assert match["logit"] == pytest.approx(logit_scale() * cosines[at], abs=1e-4)
        assert match["probability"] == pytest.approx(odds[at] / odds.sum(), abs=1e-5)
        assert match["percentile"] == pytest.approx(100 * (own < cosines[at]).mean(), abs=0.2)
        assert match["chance"] == pytest.approx(chance(cosines[at], null), abs=1e-5)
    [alone] = hanclip(*command, "--text", "甜瓜")["matches"]
    assert alone["probability"] is None  # a single pair would always have probability 1
    assert alone["cosine"] == pytest.approx(cosines[0], abs=1e-6)


def test_one_image_against_all_texts_and_one_text_against_all_images(out: Path, rows: pa.Table, hanclip: Run) -> None:
    row = rows["id"].to_pylist().index("twemoji-1f348")
    by_text = rows.filter(rows["text"].is_valid())
    image, text = (vectors(rows.slice(row, 1), name)[0] for name in ("image_embedding", "text_embedding"))
    cases = [
        (["--image", "twemoji-1f348"], by_text, vectors(by_text, "text_embedding") @ image),
        (["--text-id", "twemoji-1f348"], rows, vectors(rows, "image_embedding") @ text),
        (["--text", "一只猫"], rows, vectors(rows, "image_embedding") @ text_vectors(["一只猫"])[0]),
    ]
    for options, among, cosines in cases:
        matches = hanclip("similarity", out, *options, "--top", 12)["matches"]
        found = [match["cosine"] for match in matches]
        assert found == sorted(found, reverse=True)
        np.testing.assert_allclose(found, np.sort(cosines)[::-1][:12], atol=1e-6)
        at = {id_: i for i, id_ in enumerate(among["id"].to_pylist())}
        assert [m["text"] for m in matches] == [among["text"][at[m["id"]]].as_py() for m in matches]
        np.testing.assert_allclose(found, [cosines[at[m["id"]]] for m in matches], atol=1e-6)
        assert all(match["probability"] is None for match in matches)
        for one, next_ in pairwise(matches):
            assert one["cosine"] > next_["cosine"] or one["id"] < next_["id"]


def test_a_missing_vector_is_named_in_the_error(out: Path, rows: pa.Table, hanclip: Run) -> None:
    without = rows.filter(rows["text"].is_null())["id"][0].as_py()
    assert f"{without} has no text: name" in hanclip("similarity", out, "--text-id", without, code=2)["message"]
    with pytest.raises(UsageError, match="has no image: name a record that has one\\."):
        stored(Dataset.open(str(out)), without, "another state", IMAGE)


def test_a_dry_run_reports_the_plan_and_writes_nothing(tmp_path: Path, hanclip: Run) -> None:
    commit(Dataset.open_or_create(str(tmp_path / "out"), an_identity()), 0, some_records(5))
    result = hanclip("similarity", tmp_path / "out", "--dry-run")
    assert (result["rows"], result["pairs"]) == (5, 5)
    assert not (tmp_path / "out" / "similarity").exists()


@pytest.mark.parametrize("question", [[], ["--image", "[/b][red]x[/red]"], ["--text-id", "[/b][red]x[/red]"]])
def test_text_that_looks_like_markup_is_printed_verbatim(
    question: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    records = [Record("[/b][red]x[/red]", "s3://shop/1.jpg", None, None, None, 100, "etag-1"), *some_records(1)]
    commit(Dataset.open_or_create(str(tmp_path / "[/b]"), an_identity()), 0, records)
    with pytest.raises(SystemExit) as ended:
        main(["similarity", str(tmp_path / "[/b]"), *question])
    assert not ended.value.code
    assert "红色连衣裙 [/b][red]x[/red]" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "a", "--text", "b"], "2 texts without an image"),
        (["--image", "nobody"], "nobody has no current row"),
        (["--image", "item-00000", "--dry-run"], "leave --dry-run out"),
        (["--image", "item-00000", "--texts", "{folder}/empty.txt"], "holds no text"),
        (["--image", ""], "The value of --image is empty"),
        (["--text", "\u200b"], "no character of it can be seen: correct --text"),
        (["--image", "item-00000", "--texts", "nope.txt"], "There is no file nope.txt: check --texts"),
        (["--top", "5"], "--top needs a question"),
        (["--model", "elsewhere"], "--model needs texts to encode"),
        (["--text-id", "item-00000", "--model", "elsewhere"], "--model needs texts to encode"),
        (["--image", "item-00000", "--dtype", "fp32"], "--dtype needs texts to encode"),
    ],
)
def test_usage_errors_are_reported(options: list[str], message: str, tmp_path: Path, hanclip: Run) -> None:
    commit(Dataset.open_or_create(str(tmp_path / "out"), an_identity()), 0, some_records(5))
    (tmp_path / "empty.txt").write_text("\n\n")
    given = [option.replace("{folder}", str(tmp_path)) for option in options]
    assert message in hanclip("similarity", tmp_path / "out", *given, code=2)["message"]


def test_a_dataset_of_images_only_has_no_pairs(tmp_path: Path, hanclip: Run) -> None:
    Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_texts=False))
    assert "its records had no texts" in hanclip("similarity", tmp_path / "out", code=2)["message"]
