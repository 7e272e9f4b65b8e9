"""Test `hanclip search` and `hanclip index` against NumPy over the dataset's files."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
from PIL import Image

from flows.cli import main
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from tests.fixtures.datasets import an_identity, commit, embedded_rows, provenance, some_records, unit_vectors
from tests.fixtures.pages import Page
from tests.fixtures.places import ROOT

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json: the parsed output."""

    def call(*argv: object, code: int = 0) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, argv), "--json"])
        captured = capsys.readouterr()
        assert (ended.value.code or 0) == code, captured.err
        return json.loads(captured.out)  # type: ignore[no-any-return]

    return call


@pytest.fixture(scope="module")
def demo(demo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the demo dataset that may get an index."""
    return Path(shutil.copytree(demo_dataset, tmp_path_factory.mktemp("search") / "out"))


def columns(out: Path, vector: str) -> tuple[np.ndarray, np.ndarray]:
    rows = pads.dataset(out / "embeddings").to_table(columns=["id", vector])
    rows = rows.filter(rows[vector].is_valid())
    dim = rows[vector].type.list_size
    flat = np.concatenate([chunk.flatten().to_numpy() for chunk in rows[vector].chunks])
    return np.array(rows["id"].to_pylist()), flat.reshape(-1, dim)


def brute_force(out: Path, query: np.ndarray, top: int, vector: str = "image_embedding") -> list[tuple[str, float]]:
    ids, vectors = columns(out, vector)
    similarities = (vectors.astype(np.float64) @ query).round(6)
    order = np.lexsort((ids, -similarities))[:top]
    return [(str(ids[i]), float(similarities[i])) for i in order]


def assert_same(hits: list[dict[str, Any]], truth: list[tuple[str, float]]) -> None:
    assert [hit["rank"] for hit in hits] == list(range(1, len(truth) + 1))
    np.testing.assert_allclose([hit["similarity"] for hit in hits], [value for _, value in truth], atol=2e-6)
    swaps = [hit["id"] for hit, (id_, value) in zip(hits, truth, strict=True) if hit["id"] != id_]
    # Another order of addition may swap neighbours that differ by less than the tolerance.
    assert all(np.isclose(value, dict(truth)[id_], atol=2e-6) for id_, value in truth if id_ in swaps)


def assert_equivalent(found: dict[str, Any], truth: dict[str, Any]) -> None:
    """The same hits, with similarities within rounding: an index adds in another order."""
    for one, other in zip(found["queries"], truth["queries"], strict=True):
        assert_same(one["hits"], [(hit["id"], hit["similarity"]) for hit in other["hits"]])
        versions = [{(hit["id"], hit["source_fingerprint"], hit["text"]) for hit in q["hits"]} for q in (one, other)]
        assert versions[0] == versions[1]


def encoder() -> Any:
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip

    return ChineseClip.load(resolve(ModelConfig(name="demo")), "fp32", "cpu")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoded bytes of one record of the demo catalog, as a file."""
    path = tmp_path_factory.mktemp("photo") / "苹果.png"
    with tarfile.open(ROOT / "demo" / "catalog" / "emoji-0000.tar") as tar:
        name = next(name for name in tar.getnames() if name.endswith(".png"))
        path.write_bytes(tar.extractfile(name).read())  # type: ignore[union-attr]
    return path


def test_queries_by_text_image_and_row_match_brute_force(demo: Path, photo: Path, run: Run) -> None:
    found = run("search", demo, "红苹果", photo, "--text", "一只猫", "--id", "noto-1f34e", "--top", "15", "--exact")
    assert [(query["kind"], query["value"]) for query in found["queries"]] == [
        ("text", "红苹果"),
        ("image", str(photo)),
        ("text", "一只猫"),
        ("id", "noto-1f34e"),
    ]
    assert (found["rows"], found["by_index"]) == (len(columns(demo, "image_embedding")[0]), 0)
    from pipeline.images.decode import decode

    model = encoder()
    words = model.encode_texts(["红苹果", "一只猫"])
    image = model.encode_images(decode(photo.read_bytes(), model.image_size, 2**28).pixels[None])[0]
    ids, vectors = columns(demo, "image_embedding")
    own = vectors[ids.tolist().index("noto-1f34e")]
    like_own = [hit for hit in brute_force(demo, own, 16) if hit[0] != "noto-1f34e"]
    truths = [brute_force(demo, words[0], 15), brute_force(demo, image, 15), brute_force(demo, words[1], 15), like_own]
    for query, truth in zip(found["queries"], truths, strict=True):
        assert_same(query["hits"], truth)
    texts = dict(pads.dataset(demo / "embeddings").to_table(columns=["id", "text"]).to_pandas().values)
    assert all(hit["text"] == texts[hit["id"]] for query in found["queries"] for hit in query["hits"])
    assert found["queries"][1]["hits"][0]["similarity"] == pytest.approx(1, abs=1e-5)


def test_a_picture_is_found_by_the_command_and_another_is_not(demo: Path, photo: Path, run: Run, capsys) -> None:
    Image.effect_noise((64, 64), 90).save(photo.with_name("noise.png"))
    there, other = run("find", demo, photo, photo.with_name("noise.png"))["pictures"]
    assert there["image"] == str(photo)
    assert (there["rows"][0]["rung"], there["rows"][0]["bits"]) == ("bytes", 0)
    assert there["rows"][0]["cosine"] == pytest.approx(1, abs=1e-5)
    assert other["rows"] == []
    with pytest.raises(SystemExit):
        main(["find", str(demo), str(photo), str(photo.with_name("noise.png"))])
    out = capsys.readouterr().out
    assert there["rows"][0]["id"] in out
    assert "noise.png: not in the dataset" in " ".join(out.split())


def test_searches_texts(demo: Path, run: Run) -> None:
    [query] = run("search", demo, "红苹果", "--in", "texts", "-k", 5)["queries"]
    assert_same(query["hits"], brute_force(demo, encoder().encode_texts(["红苹果"])[0], 5, "text_embedding"))


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_an_index_finds_nearly_all_true_hits_and_reports_its_recall(demo: Path, run: Run, kind: str) -> None:
    rows = len(columns(demo, "image_embedding")[0])
    made = run("index", demo, "--kind", kind)
    assert (made["kind"], made["rows"]) == (kind, rows)
    checked = run("index", demo, "--check")
    assert (checked["rows"], checked["by_index"]) == (rows, rows)
    assert checked["recall"] >= (1.0 if kind == "flat" else 0.97)
    found = run("search", demo, "红苹果", "一只猫", "小汽车")
    assert (found["rows"], found["by_index"], found["notes"]) == (rows, rows, [])
    right = 0
    for query, vector in zip(found["queries"], encoder().encode_texts(["红苹果", "一只猫", "小汽车"]), strict=True):
        truth = brute_force(demo, vector, 10)
        if kind == "flat":
            assert_same(query["hits"], truth)
        right += sum(hit["similarity"] >= truth[-1][1] - 1e-5 for hit in query["hits"])
    assert right >= 28
    files = sorted(path.name for path in (demo / "_index" / "image_embedding").iterdir())
    assert [name.rpartition(".")[2] for name in files] == ["faiss", "parquet"]


@pytest.fixture
def growing(tmp_path: Path) -> Dataset:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, some_records(400))
    return dataset


def test_rows_newer_than_the_index_are_found_and_old_states_are_not(growing: Dataset, run: Run) -> None:
    query = ("search", growing.uri, "--id", "item-00007", "--top", "400")
    before = run(*query)
    run("index", growing.uri, "--kind", "flat")
    assert_equivalent(run(*query), before)
    commit(growing, 2, some_records(60, first=400))
    changed = some_records(5)
    states = embedded_rows(changed, growing.identity).set_column(
        growing.identity.schema.names.index("source_fingerprint"),
        growing.identity.schema.field("source_fingerprint"),
        pa.array([f"new-{record.id}" for record in changed]),
    )
    growing.write_shard(f"{3:032x}", "2026-11-22", states, QUARANTINE.empty_table(), provenance(5, "run-2", "run-2"))
    found = run(*query, "--top", "1000")
    assert (found["rows"], found["by_index"]) == (460, 395)
    assert found["notes"] == [f"65 rows are not in the index yet: run `hanclip index {growing.uri}`"]
    [asked] = found["queries"]
    ids = [hit["id"] for hit in asked["hits"]]
    assert len(ids) == len(set(ids)) == 459
    assert {hit["source_fingerprint"] for hit in asked["hits"] if hit["id"] in {r.id for r in changed}} == {
        f"new-{record.id}" for record in changed
    }
    all_ids = [record.id for record in some_records(460)]
    similarities = unit_vectors(all_ids, 8, "image") @ unit_vectors(["item-00007"], 8, "image")[0]
    truth = sorted((-round(float(s), 6), id_) for s, id_ in zip(similarities, all_ids, strict=True))
    assert [-s for s, id_ in truth if id_ != "item-00007"] == pytest.approx(
        [hit["similarity"] for hit in asked["hits"]], abs=2e-6
    )
    assert_equivalent(run(*query, "--exact", "--top", "1000"), found)
    run("index", growing.uri)
    assert run(*query)["by_index"] == 460


def test_equal_rows_are_ordered_by_id_however_they_are_stored(tmp_path: Path, run: Run) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    records = some_records(300)
    for shard, some in enumerate((records[200:], records[:200])):
        rows = embedded_rows(some, dataset.identity)
        same = pa.FixedSizeListArray.from_arrays(pa.array(np.tile(unit_vectors(["x"], 8, "image")[0], len(some))), 8)
        rows = rows.set_column(rows.column_names.index("image_embedding"), "image_embedding", same)
        dataset.write_shard(f"{shard:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(len(some)))
    for _ in range(2):
        [query] = run("search", dataset.uri, "--id", "item-00150", "--top", "5")["queries"]
        assert [hit["id"] for hit in query["hits"]] == [f"item-{n:05d}" for n in range(5)]
        run("index", dataset.uri, "--kind", "flat")


def test_the_page_shows_the_pictures_and_is_self_contained(demo: Path, photo: Path, tmp_path: Path, run: Run) -> None:
    page = tmp_path / "found.html"
    found = run("search", demo, "红苹果<script>alert(1)</script>", photo, "--top", "6", "--html", page, "--exact")
    assert found["page"] == str(page)
    read = Page(page)
    read.check_self_contained()
    assert "红苹果<script>alert(1)</script>" in read.texts["q1"]
    for number, query in enumerate(found["queries"], 1):
        cards = read.cards[f"q{number}"]
        assert [card["rid"] for card in cards] == [hit["id"] for hit in query["hits"]]
        assert [card["note"].split(" · ")[1] for card in cards] == [f"{h['similarity']:.3f}" for h in query["hits"]]
    assert len(read.pictures()) == 13
    assert all(max(picture.size) <= 96 for picture in read.pictures())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "No query was given"),
        (("no-such.jpg",), "There is no image no-such.jpg: check its name, or search for the words with --text"),
        (("--id", "no-such"), "has no current row 'no-such' with image_embedding: check the id"),
        (("\u200b",), "A query is empty, or no character of it can be seen"),
    ],
)
def test_an_invalid_query_is_refused_with_its_cure(growing: Dataset, run: Run, argv: tuple[str], message: str) -> None:
    assert message in run("search", growing.uri, *argv, code=2)["message"]


def test_queries_are_combined_with_a_condition_on_the_command_line(
    growing: Dataset, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ("--id", "item-00001", "--id", "item-00002", "--combine", "--where", "id < 'item-00009'", "-k", "3")
    found = run("search", growing.uri, *argv, "--min-similarity", "-1")
    [asked] = found["queries"]
    assert (asked["kind"], asked["value"], found["rows"]) == ("combined", "item-00001 + item-00002", 9)
    assert [part["value"] for part in asked["parts"]] == ["item-00001", "item-00002"]
    query = unit_vectors(["item-00001", "item-00002"], 8, "image").mean(axis=0)
    ids = [record.id for record in some_records(9) if record.id not in ("item-00001", "item-00002")]
    cosines = unit_vectors(ids, 8, "image") @ (query / np.linalg.norm(query))
    assert [hit["id"] for hit in asked["hits"]] == [ids[n] for n in np.argsort(-cosines)[:3]]
    assert "A query is empty" in run("search", growing.uri, *argv, "--not", "\u200b", code=2)["message"]


def test_texts_are_searched_indexed_and_ranked_where_there_are_no_images(tmp_path: Path, run: Run) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False))
    commit(dataset, 1, some_records(50))
    assert run("index", dataset.uri, "--kind", "flat")["vector"] == "text_embedding"
    found = run("search", dataset.uri, "--id", "item-00001")
    assert (found["in"], found["rows"], found["by_index"]) == ("texts", 50, 50)
    ranked = run("similarity", dataset.uri, "--text-id", "item-00001", "--top", "11")["matches"]
    assert [match["id"] for match in ranked[1:]] == [hit["id"] for hit in found["queries"][0]["hits"]]
    refused = run("similarity", dataset.uri, "--image", "item-00001", code=2)["message"]
    assert "had no images: leave --image out, and give a text with --text" in refused


def test_checking_without_an_index_is_refused(growing: Dataset, run: Run) -> None:
    assert f"run `hanclip index {growing.uri}` first" in run("index", growing.uri, "--check", code=2)["message"]


def test_prints_a_table_and_the_number_of_searched_rows(growing: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["search", growing.uri, "--id", "item-00001", "--top", "3"])
    captured = capsys.readouterr()
    assert not ended.value.code
    assert len([line for line in captured.out.splitlines() if "item-" in line]) == 4
    assert "400 rows searched" in captured.err


def test_captions_and_ids_are_printed_verbatim_with_control_characters_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    rows = embedded_rows(some_records(2), dataset.identity)
    hostile = {"id": [":cat:/[red]1", "b"], "text": ["[bold]:cat:[/bold] \x1b[2J\x1b]0;x\x07", "</style><script>"]}
    for name, values in hostile.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    dataset.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(2))
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["search", dataset.uri, "--id", "b", "--html", str(tmp_path / ":cat:[red].html")])
    printed = capsys.readouterr()
    assert all(words in printed.out for words in (":cat:/[red]1", "[bold]:cat:[/bold] ␛[2J␛]0;x␇"))
    assert "\x1b[2J" not in printed.out
    assert "/:cat:[red].html" in printed.err
    assert Page(tmp_path / ":cat:[red].html").cards["q1"][0]["text"] == "[bold]:cat:[/bold] ␛[2J␛]0;x␇"
