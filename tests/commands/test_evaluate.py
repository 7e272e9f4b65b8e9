"""Test `hanclip evaluate`: scores equal those of a plain implementation of the published definition."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from flows.cli import main
from pipeline.config import ModelConfig
from pipeline.curation.evaluate import own_pairs
from pipeline.curation.evaluate.features import read_features
from pipeline.curation.evaluate.pairs import read_pairs
from pipeline.curation.evaluate.recall import TopK
from pipeline.dataset.dataset import Dataset
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from tests.fixtures.datasets import DIM, an_identity, commit, some_records, unit_vectors
from tests.fixtures.places import ROOT

FLAWS = ROOT / "demo" / "imperfections.json"
SOUND = (
    "vendor = 'twemoji' AND split_part(id, '/', -1) NOT IN (SELECT flaw.key FROM (SELECT unnest("
    f"exact_duplicates || near_duplicates || wrong_captions) AS flaw FROM '{FLAWS}'))"
)
Truth = Mapping[Any, Sequence[Any]]
Features = list[tuple[Any, list[float]]]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `hanclip evaluate ... --json`: its last JSON line, plus `exit_code`."""

    def call(*arguments: str) -> dict[str, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *arguments, "--json"])
        captured = capsys.readouterr()
        assert "Searching" not in captured.err
        return {"exit_code": ended.value.code, **json.loads(captured.out.splitlines()[-1])}

    return call


def predicted(queries: Features, candidates: Features) -> list[tuple[Any, list[Any]]]:
    """For each query all candidates sorted by inner product, stable, descending; the first ten."""
    lines = []
    for query_id, query in queries:
        scored = [(id_, sum(a * b for a, b in zip(query, vector, strict=True))) for id_, vector in candidates]
        lines.append((query_id, [id_ for id_, _ in sorted(scored, key=lambda pair: pair[1], reverse=True)[:10]]))
    return lines


def published_score(truth: Truth, lines: list[tuple[Any, list[Any]]]) -> dict[str, float] | None:
    """R@K = 100 x (queries with a right answer among the first K) / (all queries); None if there is no score."""
    if any(len(ids) != 10 or len(set(ids)) != 10 for _, ids in lines) or not truth:
        return None
    answers = dict(lines)
    if truth.keys() - answers.keys():
        return None
    r1, r5, r10 = (
        sum(bool(set(right) & set(answers[query][:k])) for query, right in truth.items()) * 1.0 / len(truth)
        for k in (1, 5, 10)
    )
    return {"r1": r1 * 100, "r5": r5 * 100, "r10": r10 * 100, "mean_recall": (r1 + r5 + r10) / 3.0 * 100}


def inverse(lines: list[dict[str, Any]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for line in lines:
        for image_id in line["image_ids"]:
            found.setdefault(image_id, []).append(line["text_id"])
    return found


def some_features(rng: random.Random, ids: Sequence[int]) -> Features:
    """Random vectors of few powers of two: every inner product is exact in any order of addition, and many tie."""
    return [(id_, [rng.choice([-0.5, 0.0, 0.25, 0.5]) for _ in range(6)]) for id_ in ids]


def some_pairs(rng: random.Random, layout: str) -> tuple[list[dict[str, Any]], list[int], list[int]]:
    """Annotations, text ids and image ids in the layout of a benchmark set."""
    images = rng.sample(range(1000, 9000), 90)
    texts_per_image = {"muge": 1, "flickr30k-cn": 5, "coco-cn": 1}[layout]
    asked = [image for image in images[:60] for _ in range(texts_per_image)]
    lines = [{"text_id": n, "text": f"文{n}", "image_ids": [image]} for n, image in enumerate(asked, 7)]
    if layout == "muge":  # shop queries: some match several images, some none
        for line in lines[::7]:
            line["image_ids"] = rng.sample(images, 3)
        for line in lines[3::11]:
            line["image_ids"] = []
    return lines, [line["text_id"] for line in lines], images


def spoil(how: str, lines: list[dict[str, Any]], texts: Features, images: Features, rng: random.Random) -> None:
    """Change the files in place."""
    if how == "image that is missing":
        lines[0]["image_ids"] = [424242]
    elif how == "text in no pair":
        texts += some_features(rng, [990, 991])
    elif how == "text without a vector":
        del texts[4]
    elif how == "text id twice":
        lines.append({**lines[2], "image_ids": [images[9][0]]})
        lines[2]["image_ids"] = []
        texts.append((lines[2]["text_id"], [2 * value for value in images[9][1]]))
    elif how == "image id twice":
        images += some_features(rng, [images[5][0]])
    elif how == "image id twice among the best":
        images.append(images[5])
        texts.append((12345, [2 * value for value in images[5][1]]))
    elif how == "nine images":
        del images[9:]


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def write_features(path: Path, key: str, features: Features) -> str:
    return write_lines(path, [{key: id_, "feature": vector} for id_, vector in features])


@pytest.mark.parametrize("layout", ["muge", "flickr30k-cn", "coco-cn"])
@pytest.mark.parametrize(
    "how",
    [
        "unchanged",
        "image that is missing",
        "text in no pair",
        "text without a vector",
        "text id twice",
        "image id twice",
        "image id twice among the best",
        "nine images",
    ],
)
def test_scores_with_ties_match_the_published_definition_exactly(
    layout: str, how: str, tmp_path: Path, run: Run
) -> None:
    rng = random.Random(f"{layout} {how}")
    lines, text_ids, image_ids = some_pairs(rng, layout)
    texts, images = some_features(rng, text_ids), some_features(rng, image_ids)
    spoil(how, lines, texts, images, rng)
    found = run(
        "--image-features", write_features(tmp_path / "valid_imgs.img_feat.jsonl", "image_id", images),
        "--text-features", write_features(tmp_path / "valid_texts.txt_feat.jsonl", "text_id", texts),
        "--pairs", write_lines(tmp_path / "valid_texts.jsonl", lines),
        "--predictions", str(tmp_path / "found"),
    )  # fmt: skip
    forward, backward = predicted(texts, images), predicted(images, texts)
    scores = (
        published_score({line["text_id"]: line["image_ids"] for line in lines}, forward),
        published_score(inverse(lines), backward),
    )
    assert found["exit_code"] == int(None in scores)
    for result, score, prefix in zip(found["results"], scores, ("", "tr_"), strict=True):
        output = json.loads((tmp_path / "found" / f"{prefix}output.json").read_text())
        if score is None:
            assert set(result) == {"direction", "queries", "candidates", "error"}
            assert output == {
                "success": False, "score": 0, "scoreJson": {},
                "errorMsg": result["error"], "errorDetail": result["error"],
            }  # fmt: skip
        else:
            assert {name: result[name] for name in score} == score
            mean = score["mean_recall"]
            assert output == {"success": True, "score": mean, "scoreJson": {"score": mean, **score}}
    expected = "".join(json.dumps({"text_id": id_, "image_ids": ids}) + "\n" for id_, ids in forward)
    assert (tmp_path / "found" / "valid_predictions.jsonl").read_text() == expected
    expected = "".join(json.dumps({"image_id": id_, "text_ids": ids}) + "\n" for id_, ids in backward)
    assert (tmp_path / "found" / "valid_tr_predictions.jsonl").read_text() == expected


@pytest.mark.parametrize("images", [{}, {"image_ids": []}, {"image_id": 7}, {"image_ids": None}])
def test_pairs_that_name_no_image_are_asked_and_not_scored(tmp_path: Path, run: Run, images: dict[str, Any]) -> None:
    rng = random.Random(3)
    lines, text_ids, image_ids = some_pairs(rng, "coco-cn")
    lines = [{"text_id": line["text_id"], "text": line["text"], **images} for line in lines]
    files = (
        "--image-features", write_features(tmp_path / "i.jsonl", "image_id", some_features(rng, image_ids)),
        "--text-features", write_features(tmp_path / "t.jsonl", "text_id", some_features(rng, text_ids)),
        "--pairs", write_lines(tmp_path / "test_texts.jsonl", lines),
    )  # fmt: skip
    refused = run(*files)
    assert (refused["exit_code"], refused["event"]) == (2, "error")
    assert "nothing to score: no line of" in refused["message"]
    asked = run(*files, "--predictions", str(tmp_path / "found"))
    assert asked["exit_code"] == 0
    assert [result["note"].partition(":")[0] for result in asked["results"]] == ["nothing to score"] * 2
    assert {path.name for path in (tmp_path / "found").iterdir()} == {
        "test_predictions.jsonl",
        "test_tr_predictions.jsonl",
    }
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *files, "--predictions", str(tmp_path / "found")])
    assert not ended.value.code


def test_captions_as_coco_cn_distributes_them_are_pairs(tmp_path: Path, run: Run) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("\ufeffCOCO_1#0\t一只 猫\nCOCO_1#1\t猫\r\nCOCO_2#0\t#狗\t\n", encoding="utf-8")
    pairs = read_pairs(str(captions))
    assert pairs.texts == ["一只 猫", "猫", "#狗"]
    assert pairs.texts_of == {"COCO_1": {"COCO_1#0", "COCO_1#1"}, "COCO_2": {"COCO_2#0"}}
    captions.write_text("COCO_1#0 一只猫\n", encoding="utf-8")
    refused = run("--image-features", "i", "--text-features", "t", "--pairs", str(captions))
    assert "id#0<TAB>caption" in refused["message"]


def test_an_image_twice_in_the_top_ten_leaves_its_direction_without_a_score(tmp_path: Path, run: Run) -> None:
    rng = random.Random(1)
    lines, text_ids, image_ids = some_pairs(rng, "coco-cn")
    texts, images = some_features(rng, text_ids), some_features(rng, image_ids)
    spoil("image id twice among the best", lines, texts, images, rng)
    files = (
        "--image-features", write_features(tmp_path / "i.jsonl", "image_id", images),
        "--text-features", write_features(tmp_path / "t.jsonl", "text_id", texts),
        "--pairs", write_lines(tmp_path / "valid_texts.jsonl", lines),
    )  # fmt: skip
    forward, backward = run(*files)["results"]
    assert "is among the first ten of text 12345 twice" in forward["error"]
    assert backward["r10"] > 0
    assert [result["direction"] for result in run(*files, "--direction", "image-to-text")["results"]] == [
        "image-to-text"
    ]


def test_the_top_ten_do_not_depend_on_the_block_size() -> None:
    rng = np.random.default_rng(0)
    queries = rng.integers(-2, 3, (40, 5)).astype(np.float32)
    candidates = rng.integers(-2, 3, (9000, 5)).astype(np.float32)
    expected = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")[:, :10]
    for rows in (7, 8, 1000, 10**6):
        nearest = TopK(queries)
        for first in range(0, len(candidates), rows):
            nearest.add(candidates[first : first + rows])
        np.testing.assert_array_equal(nearest.positions, expected)
        np.testing.assert_array_equal(nearest.scores, np.take_along_axis(queries @ candidates.T, expected, 1))


@pytest.mark.parametrize("scores", ["rising", "all equal"])
def test_the_top_ten_of_sorted_or_equal_scores(scores: str) -> None:
    count = 20_000
    candidates = (np.arange(count) if scores == "rising" else np.ones(count)).astype(np.float32)[:, None]
    nearest = TopK(np.ones((3, 1), np.float32))
    nearest.add(candidates)
    expected = np.arange(count)[::-1][:10] if scores == "rising" else np.arange(10)
    np.testing.assert_array_equal(nearest.positions, np.tile(expected, (3, 1)))


def rows_of(dataset: Path, where: str = "true") -> list[dict[str, Any]]:
    """Rows with a text, in the order of their files."""
    sql = f"SELECT * FROM '{dataset}/embeddings/**/*.parquet' WHERE text IS NOT NULL AND ({where})"
    return duckdb.sql(sql).to_arrow_table().to_pylist()


def by_matrix(queries: np.ndarray, candidates: np.ndarray, right: np.ndarray) -> list[float]:
    """R@1, 5, 10 in percent, from the rank of the best right candidate of each query."""
    scores = queries @ candidates.T
    best = np.where(right, scores, -np.inf).max(1)
    rank = (scores > best[:, None]).sum(1)
    return [100 * float((rank < k).mean()) for k in (1, 5, 10)]


def distinct(rows: list[dict[str, Any]], column: str, vector: str) -> tuple[list[Any], np.ndarray]:
    first = {}
    for row in rows:
        first.setdefault(row[column], row[vector])
    return list(first), np.array(list(first.values()), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("where", [None, SOUND])
def test_the_demos_recall_on_its_own_pairs(where: str | None, demo_dataset: Path, run: Run) -> None:
    rows = rows_of(demo_dataset, where or "true")
    texts, text_vectors = distinct(rows, "text", "text_embedding")
    images, image_vectors = distinct(rows, "image_sha256", "image_embedding")
    pairs = {(row["text"], row["image_sha256"]) for row in rows}
    right = np.array([[(text, image) in pairs for image in images] for text in texts])
    found = run(str(demo_dataset), *(("--where", where) if where else ()))
    forward, backward = found["results"]
    assert (forward["queries"], forward["candidates"]) == (len(texts), len(images))
    assert [forward[k] for k in ("r1", "r5", "r10")] == pytest.approx(by_matrix(text_vectors, image_vectors, right))
    assert [backward[k] for k in ("r1", "r5", "r10")] == pytest.approx(by_matrix(image_vectors, text_vectors, right.T))
    if where:
        # Without copies and shared captions each row is one text and one image: the figure that `hanclip demo` reports.
        assert len(rows) == len(texts) == len(images) == 1500
        own = by_matrix(text_vectors, image_vectors, np.eye(1500, dtype=bool))
        assert [forward[k] for k in ("r1", "r5", "r10")] == pytest.approx(own)
        assert own == pytest.approx([55.8, 81.3, 86.8], abs=0.3)


@pytest.mark.slow
def test_the_block_size_does_not_matter_and_a_sample_is_reproducible(
    demo_dataset: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(str(demo_dataset))["results"]
    monkeypatch.setattr(own_pairs, "_QUERY_ROWS", 500)
    assert run(str(demo_dataset))["results"] == whole
    sampled = run(str(demo_dataset), "--sample", "300", "--direction", "text-to-image")
    assert sampled["sample"] == 300
    [result] = sampled["results"]
    assert (result["queries"], result["candidates"]) == (300, whole[0]["candidates"])
    assert result["r1"] == pytest.approx(whole[0]["r1"], abs=10)
    assert run(str(demo_dataset), "--sample", "300", "--direction", "text-to-image")["results"] == [result]


@pytest.mark.slow
@pytest.mark.parametrize("keys", [("text_id", "text", "image_ids"), ("query_id", "query_text", "item_ids")])
def test_a_pairs_file_is_evaluated_with_the_datasets_model(
    keys: tuple[str, str, str], demo_dataset: Path, tmp_path: Path, run: Run
) -> None:
    rows = rows_of(demo_dataset, "vendor = 'noto'")
    texts = [f"一张图：{row['text']}" for row in rows]
    lines = [
        dict(zip(keys, (n, text, [row["id"]]), strict=True))
        for n, (text, row) in enumerate(zip(texts, rows, strict=True))
    ]
    found = run(
        str(demo_dataset), "--pairs", write_lines(tmp_path / "test_texts.jsonl", lines),
        "--where", "vendor = 'noto' AND text IS NOT NULL", "--predictions", str(tmp_path),
    )  # fmt: skip
    encoder = ChineseClip.load(resolve(ModelConfig(name="demo")), dtype="fp32", device="cpu")
    vectors, images = encoder.encode_texts(texts), np.array([row["image_embedding"] for row in rows], np.float32)
    for result, (queries, candidates) in zip(found["results"], [(vectors, images), (images, vectors)], strict=True):
        assert (result["queries"], result["candidates"]) == (len(rows), len(rows))
        own = by_matrix(queries, candidates, np.eye(len(rows), dtype=bool))
        # A copy of an image scores the same as its original, and either may come first.
        assert [result[k] for k in ("r1", "r5", "r10")] == pytest.approx(own, abs=100 / len(rows) * 3)
    first = json.loads((tmp_path / "test_predictions.jsonl").read_text().splitlines()[0])
    assert first["text_id"] == 0
    assert first["image_ids"][0] in {row["id"] for row in rows}


def test_numeric_ids_keep_their_leading_zeros(tmp_path: Path, run: Run) -> None:
    ids = [*(f"{n:03d}" for n in range(12)), "9" * 4301]
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    commit(dataset, 1, [replace(record, id=id_) for id_, record in zip(ids, some_records(13), strict=True)])
    vectors = unit_vectors(ids, DIM, "image")
    found = run(
        dataset.uri, "--direction", "text-to-image", "--predictions", str(tmp_path / "found"),
        "--text-features", write_features(tmp_path / "t.jsonl", "text_id", list(enumerate(vectors.tolist()))),
        "--pairs", write_lines(
            tmp_path / "valid_texts.jsonl",
            [{"text_id": n, "text": "猫", "image_ids": [id_]} for n, id_ in enumerate(ids)],
        ),
    )  # fmt: skip
    assert (found["exit_code"], found["images_missing"], found["results"][0]["r1"]) == (0, 0, 100)
    lines = [json.loads(line) for line in (tmp_path / "found" / "valid_predictions.jsonl").read_text().splitlines()]
    assert [line["image_ids"][0] for line in lines] == ids


def feature_files(folder: Path) -> list[str]:
    rng = random.Random(3)
    lines, text_ids, image_ids = some_pairs(rng, "coco-cn")
    return [
        "--image-features", write_features(folder / "i.jsonl", "image_id", some_features(rng, image_ids)),
        "--text-features", write_features(folder / "t.jsonl", "text_id", some_features(rng, text_ids)),
        "--pairs", write_lines(folder / "valid_texts.jsonl", lines),
    ]  # fmt: skip


def test_published_figures_are_shown_next_to_the_score(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "[/b]").mkdir(parents=True)
    files = feature_files(tmp_path / "[/b]")
    name = "OFA-Sys/chinese-clip-vit-base-patch16"
    found = run(*files, "--compare", "--set", "muge", "--published-model", name)
    shown = {(f["direction"], f["setting"]): (f["model"], f["r1"], f["mean_recall"]) for f in found["published"]}
    assert shown == {
        ("text-to-image", "zero-shot"): ("vit-b-16", 52.1, 71.1),
        ("text-to-image", "fine-tuned"): ("vit-b-16", 58.4, 77.4),
        ("image-to-text", "zero-shot"): ("vit-b-16", 38.7, None),
    }
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["evaluate", *files, "--compare", "--set", "muge", "--published-model", name])
    text = capsys.readouterr().out
    r1 = found["results"][0]["r1"]
    assert "text-to-image: 60 queries, 90 candidates" in text
    assert re.search(r"vit-b-16 published, +│ +52.1 │ +76.7 │ +84.4 │ +71.1 │", text)
    assert re.search(rf"difference .* {re.escape(f'{r1 - 52.1:+.2f}')} ", text)
    assert "OFA-Sys/Chinese-CLIP Results.md" in text
    assert "[/b]" in text.replace("\n", "")
    assert run(*files, "--compare", "--set", "muge", "--split", "test")["published"] == []


def test_the_published_figures(run: Run) -> None:
    figures = run("--published")["figures"]
    assert len(figures) == 217
    assert all(figure["source"] for figure in figures)
    variants = ["rn50", "vit-b-16", "vit-l-14", "vit-l-14-336", "vit-h-14"]
    for name, direction, r1 in (
        ("muge", "text-to-image", [42.6, 52.1, 56.3, 59.0, 63.0]),
        ("flickr30k-cn", "image-to-text", [60.0, 74.6, 80.2, 83.3, 81.6]),
        ("coco-cn", "text-to-image", [48.1, 62.2, 64.0, 64.7, 69.2]),
    ):
        of = [f for f in figures if (f["set"], f["direction"], f["setting"]) == (name, direction, "zero-shot")]
        assert [next(f["r1"] for f in of if f["model"] == variant) for variant in variants] == r1
    for figure in figures:  # a published mean equals the mean of its three recalls, up to rounding
        if figure["mean_recall"]:
            assert figure["mean_recall"] == pytest.approx((figure["r1"] + figure["r5"] + figure["r10"]) / 3, abs=0.1)
    assert [f["top1"] for f in run("--published", "--set", "imagenet", "--published-model", "rn50")["figures"]] == [
        33.5
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give OUT, or --image-features"),
        (["out", "--image-features", "i.jsonl"], "give one of them"),
        (["--image-features", "i.jsonl"], "need --pairs"),
        (["--image-features", "i.jsonl", "--pairs", "p.jsonl"], "needs --text-features"),
        (["out", "--predictions", "found"], "give them too"),
        (["out", "--pairs", "p.jsonl", "--sample", "9"], "leave out --pairs or --sample"),
        (["out", "--compare"], "needs --set"),
        (["out", "--compare", "--set", "muga"], "give one of muge"),
        (["--published", "--set", "muga"], "choose among"),
        (["out", "--set", "muge"], "give --compare or --published too"),
        (["out", "--published-model", "rn50"], "give --compare or --published too"),
        (["out", "--split", "test"], "leave it out, or give one of them"),
        (["out", "--model", "demo"], "encode the texts of --pairs"),
        (["out", "--dtype", "fp32"], "encode the texts of --pairs"),
        (["out", "--text-features", "t.jsonl", "--pairs", "p.jsonl", "--dtype", "fp32"], "encode the texts of --pairs"),
        (["out", "--published"], "--published only lists figures"),
        (["--published", "--compare", "--set", "muge"], "--published only lists figures"),
        *(
            (["out", "--pairs", "p.jsonl", "--predictions", "found", "--split", name], "is not a valid name")
            for name in ("../../esc", "a/b", "..", "a\n")
        ),
    ],
)
def test_conflicting_options_are_refused(arguments: list[str], message: str, run: Run) -> None:
    result = run(*arguments)
    assert result["exit_code"] == 2
    assert message in result["message"]


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("i.jsonl", '{"image_id": 1, "feature": [1.0]}', "Line 91 of .* has 1 numbers, the first line has 6"),
        ("i.jsonl", '{"image_id": "1", "feature": [1, 2, 3, 4, 5, 6]}', "Line 91 of .* an id that is not an integer"),
        ("t.jsonl", '{"text_id": 1}', "Line 61 of .*KeyError"),
        ("t.jsonl", '{"text_id": 1, "feature": [1, 2, 3, 4, 5, "x"]}', "not a list of numbers"),
        ("t.jsonl", '{"text_id": 1, "feature": [1, 2, 3, 4, 5, NaN]}', "NaN or Infinity"),
        ("valid_texts.jsonl", '{"text_id": 1.5, "text": "x"}', "Line 61 of .* is not a text"),
    ],
)
def test_a_malformed_line_is_reported_with_its_number(
    file: str, line: str, message: str, tmp_path: Path, run: Run
) -> None:
    files = feature_files(tmp_path)
    with (tmp_path / file).open("a", encoding="utf-8") as opened:
        opened.write(line + "\n")
    result = run(*files)
    assert result["exit_code"] == 2
    assert re.search(message, result["message"])


def test_pairs_of_unknown_images_are_refused(tmp_path: Path, run: Run) -> None:
    files = feature_files(tmp_path)
    write_lines(tmp_path / "valid_texts.jsonl", [{"text_id": 7, "text": "猫", "image_ids": [-1]}])
    result = run(*files, "--predictions", str(tmp_path / "found"))
    assert result["exit_code"] == 2
    assert "None of the 1 images that the pairs name is there" in result["message"]
    assert not (tmp_path / "found").exists()


@pytest.mark.slow
def test_an_invalid_condition_or_one_without_rows_is_refused(demo_dataset: Path, run: Run, tmp_path: Path) -> None:
    for where, message in (
        ("vendr = 'noto'", "the columns are id, "),
        ("false", "No row of"),
        ("", "--where is empty"),
        ("CAST(text AS INT) > 1", "the columns are id, "),
        ("similarity > (SELECT avg(similarity) FROM rows)", "the columns are id, "),
        (f"1=1); COPY (SELECT 42) TO '{tmp_path}/out.csv'; SELECT 1 FROM rows WHERE (1=1", "more than one expression"),
    ):
        result = run(str(demo_dataset), "--where", where)
        assert result["exit_code"] == 2
        assert message in result["message"]


def test_features_are_read_in_blocks_in_file_order(tmp_path: Path) -> None:
    features = some_features(random.Random(0), range(9000, 0, -1))
    blocks = list(read_features(write_features(tmp_path / "i.jsonl", "image_id", features)))
    assert len(blocks) > 1
    assert [id_ for ids, _ in blocks for id_ in ids] == [id_ for id_, _ in features]
    np.testing.assert_array_equal(
        np.concatenate([v for _, v in blocks]), np.array([v for _, v in features], np.float32)
    )
