"""Test `hanclip classify` against an independent implementation of the published zero-shot definition."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tests.fixtures.commands import Run
from tests.fixtures.reference_texts import logit_scale as learned_scale
from tests.fixtures.reference_texts import parameter_counts, text_vectors

GROUPS = ["人物与身体", "物品", "符号", "旅行与地点", "表情与情感", "动物与自然", "食物和饮料", "活动", "旗帜"]
TEMPLATES = ["{}", "“{}”图标", "一张{}的图片", "{}图标", "{}图标"]
UNSEEN = "CASE WHEN vendor = 'twemoji' THEN {} END"


@pytest.fixture(scope="module")
def out(demo_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable copy of the embedded demo catalog, without the source images."""
    copy = tmp_path_factory.mktemp("classify") / "out"
    shutil.copytree(demo_dataset, copy)
    return copy


@pytest.fixture(scope="module")
def rows(demo_dataset: Path) -> pa.Table:
    """Its rows, sorted by id."""
    return pq.read_table(demo_dataset / "embeddings").sort_by("id")


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    return lines(tmp_path / "groups.txt", GROUPS)


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    return lines(tmp_path / "templates.txt", TEMPLATES)


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


def images(rows: pa.Table) -> np.ndarray:
    return rows["image_embedding"].combine_chunks().flatten().to_numpy().reshape(rows.num_rows, -1)


def probabilities(rows: pa.Table, names: list[list[str]], templates: list[str], scale: float = 100.0) -> np.ndarray:
    """(N, C): the mean of a class's normed prompt vectors, normed; softmax(scale * image @ classifier)."""
    weights = []
    for synonyms in names:
        vectors = text_vectors([template.format(name) for name in synonyms for template in templates])
        weights.append(vectors.mean(0) / np.linalg.norm(vectors.mean(0)))
    odds = np.exp(scale * (images(rows).astype(np.float64) @ np.stack(weights).T - 1))
    return odds / odds.sum(1, keepdims=True)


def table_of(out: Path, name: str = "classes") -> pa.Table:
    return pq.read_table(out / "classes" / f"{name}.parquet").sort_by("id")


def test_accuracy_on_the_unseen_vendor_matches_an_independent_computation(
    out: Path, rows: pa.Table, hanclip: Run, groups: Path, templates: Path
) -> None:
    truth = UNSEEN.format('"group"')
    result = hanclip(
        "classify",
        out,
        "--labels",
        groups,
        "--templates",
        templates,
        "--truth",
        truth,
        "--dtype",
        "fp32",
        "--compare",
        "cifar100",
    )
    published = {figure["model"]: figure["top1"] for figure in result["published"]}
    assert (published["rn50"], published["vit-b-16"], published["vit-h-14"]) == (40.6, 64.4, 79.7)
    expected = probabilities(rows, [[name] for name in GROUPS], TEMPLATES)
    order = np.argsort(-expected, axis=1, kind="stable")
    seen = np.array(rows["vendor"].to_pylist()) == "twemoji"
    true = np.array([GROUPS.index(group) for group in rows["group"].to_pylist()])

    report = result["report"]
    assert (report["rows"], report["rows_without_truth"]) == (seen.sum(), (~seen).sum())
    assert report["accuracy"] == pytest.approx(np.mean(order[seen, 0] == true[seen]), abs=1e-12)
    assert report["top5"] == pytest.approx(np.mean((order[seen, :5] == true[seen, None]).any(1)), abs=1e-12)
    assert 0.6 < report["accuracy"] < report["top5"]
    pairs = Counter(zip(true[seen].tolist(), order[seen, 0].tolist(), strict=True))
    assert {(a, b): n for a, b, n in report["confusion"]} == pairs
    recalls = []
    for number, entry in enumerate(report["classes"]):
        mine, called = seen & (true == number), seen & (order[:, 0] == number)
        right = (mine & called).sum()
        recalls.append(right / mine.sum())
        wrong = Counter(order[mine & ~called, 0].tolist())
        assert (entry["label"], entry["support"], entry["predicted"]) == (GROUPS[number], mine.sum(), called.sum())
        assert entry["precision"] == pytest.approx(right / called.sum())
        assert entry["recall"] == pytest.approx(recalls[-1])
        assert entry["f1"] == pytest.approx(2 / (called.sum() / right + mine.sum() / right))
        assert entry["confused_count"] == max(wrong.values())
        assert wrong[entry["confused_with_index"]] == entry["confused_count"]
    assert report["mean_per_class"] == pytest.approx(np.mean(recalls))

    table = table_of(out)
    ranked = np.take_along_axis(expected, order, 1)
    assert table["id"].to_pylist() == rows["id"].to_pylist()
    assert table["source_fingerprint"].to_pylist() == rows["source_fingerprint"].to_pylist()
    assert table["label"].to_pylist() == [GROUPS[i] for i in order[:, 0]]
    assert table["label_index"].to_pylist() == order[:, 0].tolist()
    assert table["runner_up"].to_pylist() == [GROUPS[i] for i in order[:, 1]]
    assert table["truth_index"].to_pylist() == [int(t) if s else None for t, s in zip(true, seen, strict=True)]
    np.testing.assert_allclose(table["probability"], ranked[:, 0], atol=3e-5)
    np.testing.assert_allclose(table["runner_up_probability"], ranked[:, 1], atol=3e-5)
    np.testing.assert_allclose(table["margin"], ranked[:, 0] - ranked[:, 1], atol=3e-5)
    assert result["images_per_class"] == np.bincount(order[:, 0], minlength=9).tolist()


def test_the_unseen_vendor_is_recognised_among_all_names(
    out: Path, rows: pa.Table, hanclip: Run, tmp_path: Path
) -> None:
    of_vendor = rows.filter(pa.compute.equal(rows["vendor"], "twemoji"))
    named = of_vendor.filter(of_vendor["text"].is_valid())
    names = sorted(set(named["text"].to_pylist()))
    result = hanclip(
        *("classify", out, "--labels", lines(tmp_path / "names.txt", names), "--templates", "plain"),
        *("--truth", UNSEEN.format("text"), "--name", "names", "--dtype", "fp32"),
    )
    cosines = images(named) @ text_vectors(names).T
    true = np.array([names.index(text) for text in named["text"].to_pylist()])
    own = cosines[np.arange(len(true)), true][:, None]
    for rank, share in ((1, result["report"]["accuracy"]), (5, result["report"]["top5"])):
        certain = ((cosines > own + 1e-6).sum(1) < rank) & ((cosines > own - 1e-6).sum(1) <= rank)
        possible = (cosines > own + 1e-6).sum(1) < rank
        assert certain.mean() <= share + 1e-9
        assert share <= possible.mean() + 1e-9
        assert possible.mean() - certain.mean() < 0.01
    assert result["classes"] == len(names) > 1000
    assert result["report"]["accuracy"] > 0.4  # by chance: less than 0.001


def test_synonyms_and_repeated_templates_count_and_the_file_is_reproducible(
    out: Path, rows: pa.Table, hanclip: Run, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text('["水果", ["动物", "一只动物", "野生动物"], "汽车", "水果"]', encoding="utf-8")
    templates = lines(tmp_path / "templates.txt", ["{}的图片", "这是{}，{}！", "{}的图片", "{}的图片"])
    command = ("classify", out, "--labels", labels, "--templates", templates, "--dtype", "fp32", "--top-k", 3)
    result = hanclip(*command, "--name", "few", "--logit-scale", "model")
    assert result["repeated_labels"] == ["水果"]
    assert result["logit_scale"] == pytest.approx(learned_scale())
    names = [["水果"], ["动物", "一只动物", "野生动物"], ["汽车"], ["水果"]]
    filled = ["{0}的图片"] * 3 + ["这是{0}，{0}！"]
    expected = probabilities(rows, names, filled, learned_scale())
    table = table_of(out, "few")
    indexes = np.stack(table["top_indexes"].to_numpy())
    np.testing.assert_allclose(
        np.stack(table["top_probabilities"].to_numpy()), np.take_along_axis(expected, indexes, 1), atol=3e-5
    )
    assert not (indexes[:, 0] == 3).any()  # of two classes with the same name, the first is reported
    np.testing.assert_allclose(
        np.sort(expected, 1)[:, ::-1][:, :3], np.take_along_axis(expected, indexes, 1), atol=1e-6
    )
    assert table["top_labels"].to_pylist()[0] == [names[i][0] for i in indexes[0]]
    first = (out / "classes" / "few.parquet").read_bytes()
    hanclip(*command, "--name", "few", "--logit-scale", "model")
    assert (out / "classes" / "few.parquet").read_bytes() == first


@pytest.mark.parametrize("indexed", [False, True])
def test_the_elevater_file_has_the_right_schema_order_and_probabilities(
    indexed: bool, out: Path, rows: pa.Table, hanclip: Run, groups: Path, tmp_path: Path
) -> None:
    file, index = tmp_path / "emoji.json", tmp_path / "index.json"
    index.write_text(json.dumps([5, 0, 1927, 5]))
    order = ("--index", index) if indexed else ()
    hanclip(
        *("classify", out, "--labels", groups, "--templates", "plain", "--dtype", "fp32"),
        *("--elevater", file, "--dataset-name", "emoji", *order),
    )
    written = json.loads(file.read_text(encoding="utf-8"))
    expected = probabilities(rows, [[name] for name in GROUPS], ["{}"])
    listed = sorted(range(rows.num_rows), key=lambda row: rows["id"][row].as_py().split("/"))
    [found] = written.pop("predictions")
    assert len(found) == (4 if indexed else 1928)
    chosen = [listed[i] for i in (5, 0, 1927, 5)] if indexed else listed
    np.testing.assert_allclose(found, expected[chosen], atol=3e-5)
    assert all(value == round(value, 6) for row in found for value in row)
    parameters, visual = parameter_counts()
    assert list(written.items()) == [
        ("model_name", "CN-CLIP-demo"),
        ("dataset_name", "emoji"),
        ("num_trainable_params", 0),
        ("num_params", parameters),
        ("num_visual_params", visual),
        ("num_backbone_params", parameters),
        ("n_shot", 0),
        ("rnd_seeds", [123]),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_truth_from_a_file_with_unknown_classes(
    suffix: str, out: Path, rows: pa.Table, hanclip: Run, groups: Path, tmp_path: Path
) -> None:
    known = rows.slice(0, 300).select(["id", "group"]).to_pylist()
    labels = ["别的" if i < 7 else row["group"] for i, row in enumerate(known)]
    table = pa.table({"id": [row["id"] for row in known], "label": labels})
    if suffix == ".parquet":
        numbers = [GROUPS.index(label) if label in GROUPS else 99 for label in labels]
        table = pa.table({"id": table["id"], "label_index": pa.array(numbers, pa.int16())})
        pq.write_table(table, tmp_path / "truth.parquet")
    else:
        options = pa.csv.WriteOptions(delimiter="\t" if suffix == ".tsv" else ",")
        pa.csv.write_csv(table, tmp_path / f"truth{suffix}", options)
    result = hanclip(
        *("classify", out, "--labels", groups, "--templates", "plain", "--dtype", "fp32"),
        *("--truth", tmp_path / f"truth{suffix}", "--report", tmp_path / "report.json"),
    )
    report = result["report"]
    assert (report["rows"], report["rows_of_no_class"], report["rows_without_truth"]) == (293, 7, 1628)
    best = probabilities(rows.slice(7, 293), [[name] for name in GROUPS], ["{}"]).argmax(1)
    assert report["accuracy"] == pytest.approx(np.mean([GROUPS[i] for i in best] == np.array(labels[7:])), abs=1e-12)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["confusion"] == report["confusion"]


def test_a_label_that_looks_like_markup_is_printed_verbatim(
    out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    labels = lines(tmp_path / "labels.txt", ["[/red]旗帜", "[b]物品[/b]"])
    given = ["--templates", "plain", "--name", "markup", "--truth", UNSEEN.format(0)]
    with pytest.raises(SystemExit) as ended:
        main(["classify", str(out), "--labels", str(labels), *given])
    assert not ended.value.code
    shown = capfd.readouterr().out
    assert "images" in shown
    assert re.search(r"(?m)^ *\[/red\]旗帜 +\d.* \[b\]物品\[/b\] \(\d", shown), shown


def test_no_report_without_a_known_class(out: Path, hanclip: Run, groups: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text("yesterday's")
    given = ("--templates", "plain", "--truth", "'别的' || vendor", "--report", report)
    result = hanclip("classify", out, "--labels", groups, *given, code=1)
    assert "report.json was not written" in result["message"]
    assert report.read_text() == "yesterday's"


def test_a_dry_run_counts_and_writes_nothing(out: Path, hanclip: Run, groups: Path) -> None:
    result = hanclip(
        *("classify", out, "--labels", groups, "--templates", "drawing", "--templates", "food"),
        *("--name", "dry", "--dry-run"),
    )
    assert (result["rows"], result["classes"], result["templates"], result["prompts"]) == (1928, 9, 23, 207)
    assert not (out / "classes" / "dry.parquet").exists()


def test_the_footer_records_how_the_table_was_made(out: Path, hanclip: Run, groups: Path) -> None:
    hanclip("classify", out, "--labels", groups, "--templates", "drawing", "--name", "facts")
    sql = f"SELECT decode(value) FROM parquet_kv_metadata('{out}/classes/facts.parquet') WHERE decode(key) = ?"
    [(facts,)] = duckdb.sql(sql, params=["hanclip.classification"]).fetchall()
    footer = json.loads(facts)
    assert footer["labels"] == [[group] for group in GROUPS]
    assert "{}贴纸" in footer["templates"]
    assert (footer["logit_scale"], footer["dtype"]) == (100, "fp32")


def test_bundled_templates_are_valid(hanclip: Run) -> None:
    sets = hanclip("classify", "--list-templates")
    assert {"plain", "general", "product", "drawing"} <= sets.keys()
    del sets["event"]
    for entry in sets.values():
        assert entry["about"]
        assert len(set(entry["templates"])) == len(entry["templates"])
        assert all(template.count("{}") == 1 and len(template) < 20 for template in entry["templates"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "{folder}/one.txt"], "names 1 classes.*hanclip similarity"),
        (["--labels", "{folder}/gap.txt"], "class 1 has an empty name"),
        (["--labels", "{folder}/nope.txt"], "There is no file .*nope.txt: --labels takes the path"),
        (["--labels", "{folder}/nope.json"], "There is no file .*nope.json: --labels takes the path"),
        (["--elevater", "x.json", "--dataset-name", "x", "--index", "nope.json"], "There is no file nope.json"),
        (["--labels", "{folder}/bad.json"], "is not a labels file"),
        (["--templates", "{folder}/one.txt"], "without {{}}.*one template a line"),
        (["--templates", "nothing"], "neither a file nor a set.*--list-templates"),
        (["--truth", "colour"], "neither a file .* nor a column.*vendor"),
        (["--truth", "vendor +"], "is no SQL: syntax error"),
        (["--truth", "nothing.csv"], "There is no file"),
        (["--truth", "1); COPY (SELECT 42) TO '{folder}/out.csv'; SELECT (vendor"], "more than one expression"),
        (["--truth", "{folder}/noid.csv"], "it needs id, and label or label_index"),
        (["--truth", "{folder}/twice.csv"], "has several lines for the id a"),
        (["--truth", "similarity"], "gives fractions"),
        (["--name", "a/b"], "--name: String should match"),
        (["--logit-scale", "hot"], "--logit-scale: Input should be"),
        (["--logit-scale", "nan"], "--logit-scale: Input should be"),
        (["--logit-scale", "0"], "--logit-scale: Input should be"),
        (["--logit-scale", "1e40"], "--logit-scale: Input should be"),
        (["--elevater", "x.json"], "belong together"),
        (["--report", "x.json"], "--report needs --truth"),
        (["--compare", "dtd"], "--compare needs --truth"),
        (["--truth", "vendor", "--compare", "muge"], "no figures of muge, but of cifar10"),
    ],
)
def test_usage_errors_are_reported_before_any_work(
    options: list[str], message: str, out: Path, hanclip: Run, groups: Path, tmp_path: Path
) -> None:
    lines(tmp_path / "one.txt", ["苹果"])
    lines(tmp_path / "gap.txt", ["苹果", "", "梨"])
    (tmp_path / "bad.json").write_text("{}[]")
    (tmp_path / "noid.csv").write_text("key,label\na,旗帜\n", encoding="utf-8")
    (tmp_path / "twice.csv").write_text("id,label\na,旗帜\na,物品\n", encoding="utf-8")
    given = [option.replace("{folder}", str(tmp_path)) for option in options]
    result = hanclip("classify", out, "--labels", groups, *given, code=2)
    assert re.search(message.replace("{{}}", r"\{\}"), result["message"]), result["message"]
    assert not (tmp_path / "out.csv").exists()


def test_an_ambiguous_class_name_needs_a_class_number_as_truth(out: Path, hanclip: Run, tmp_path: Path) -> None:
    labels = lines(tmp_path / "labels.txt", [*GROUPS, "旗帜"])
    command = ("classify", out, "--labels", labels, "--templates", "plain", "--name", "twice")
    result = hanclip(*command, "--truth", "group", code=2)
    assert "contains '旗帜', which is on several lines" in result["message"]
    cases = " ".join(f"WHEN '{group}' THEN {number}" for number, group in enumerate(GROUPS))
    report = hanclip(*command, "--truth", f'CASE "group" {cases} END')["report"]
    assert report["rows"] == 1928
    assert report["classes"][9]["support"] == report["classes"][9]["predicted"] == 0


def test_a_label_that_looks_like_a_number_is_a_label(out: Path, tmp_path: Path) -> None:
    from pipeline.curation.classify.labels import read_classes
    from pipeline.curation.classify.truth import GroundTruth
    from pipeline.dataset.dataset import Dataset
    from pipeline.scratch.workspace import Workspace

    lines(tmp_path / "digits.txt", ["8", "9", "0", "1"])
    (tmp_path / "truth.csv").write_text("id,label\na,8\nb,0\nc,7\n", encoding="utf-8")
    with Workspace() as work:
        truth = GroundTruth(
            str(tmp_path / "truth.csv"), Dataset.open(str(out)), read_classes(str(tmp_path / "digits.txt")), work
        )
        assert truth.of(pa.table({"id": ["a", "b", "c", "d"]})).tolist() == [0, 2, -2, -1]
