"""Command lines that can only be mistakes, damaged files, and foreign exceptions: one line that names the argument."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from pipeline import storage
from pipeline.config import parse
from pipeline.curation.classify.request import ClassifyRequest
from pipeline.curation.evaluate.request import EvaluateRequest
from pipeline.curation.search.exact import vectors_of
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.errors import HanclipError
from pipeline.validation import validated
from tests.fixtures.datasets import an_identity, commit, some_records

LONG = "红" * 86  # fewer characters than a name may have bytes
LONGER = "x" * 5000
SURROGATE = "a\ud800"

#: Commands with a place for a path, `@`, and the words that must not end there in a traceback, or be taken for a path.
YAML = [f"{name}.yaml" for name in ("deep", "list", "types", "nan", "keys", "nul", "surrogate", "gbk", "tag")]
NOTHING = ("", " ", "-", "a\0b", SURROGATE)
PLACES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("status", "@"): (*NOTHING, LONG, LONGER, "missing", "photos", "labels.txt", "labels.txt/x", "s3://", "http://["),
    ("verify", "@"): (*NOTHING, LONG, "missing", "labels.txt/x"),
    ("partitions", "@"): (*NOTHING, LONG, "missing", "photos"),
    ("dedup", "@", "--rung", "bytes"): (*NOTHING, LONG, "missing"),
    ("dedup", "out", "--rung", "bytes", "--not-duplicates", "@", "--dry-run"): (
        *NOTHING,
        "missing",
        "photos",
        "binary",
    ),
    ("dedup", "out", "--rung", "bytes", "--against", "@", "--dry-run"): (*NOTHING, LONG, "missing", "photos"),
    ("find", "@", "labels.txt"): (*NOTHING, LONG, "missing"),
    ("find", "out", "@"): (*NOTHING, LONG, "missing.jpg", "photos"),
    ("compact", "@", "snapshot"): (*NOTHING, LONG, "missing"),
    ("compact", "out", "@", "--dry-run"): (*NOTHING, LONG, "photos", "labels.txt"),
    ("export", "@", "rows", "--to", "npy"): (*NOTHING, LONG, "missing"),
    ("export", "out", "@", "--to", "npy"): (*NOTHING, LONG, "labels.txt"),
    ("sync", "@", "rows", "--to", "lance"): (*NOTHING, LONG, "missing"),
    ("sync", "out", "@", "--to", "lance"): (*NOTHING, LONG, "labels.txt"),
    ("sync", "out", "@", "--to", "qdrant"): (*NOTHING, LONG, "labels.txt"),
    ("filter", "@", "--where", "true"): (*NOTHING, LONG, "missing"),
    ("filter", "out", "@", "--as", "dataset", "--where", "true"): (*NOTHING, LONG, "labels.txt"),
    ("filter", "out", "--rules", "@"): (*NOTHING, LONG, "photos", "binary", "empty", "deep.yaml", "list.yaml"),
    ("search", "@", "--id", "x"): (*NOTHING, LONG, "missing"),
    ("search", "out", "--image", "@"): (*NOTHING, LONG, "missing", "photos", "missing.jpg"),
    ("similarity", "out", "--image", "item-00001", "--texts", "@"): (*NOTHING, LONG, "missing", "photos", "binary"),
    ("evaluate", "out", "--pairs", "@"): (*NOTHING, LONG, "missing", "photos", "binary", "empty", "labels.txt"),
    ("classify", "out", "--labels", "@"): (*NOTHING, LONG, "missing", "photos", "binary", "empty", "list.json"),
    ("classify", "out", "--labels", "labels.txt", "--templates", "@"): (*NOTHING, LONG, "missing", "photos", "binary"),
    ("classify", "out", "--labels", "labels.txt", "--truth", "@"): (*NOTHING, LONG, "missing.csv", "photos"),
    ("embed", "@", "new", "--dry-run", "--model", "demo"): (*NOTHING, LONG, "missing", "binary", "bad.parquet"),
    ("embed", "photos", "@", "--dry-run", "--model", "demo"): (*NOTHING, LONG, "labels.txt/x"),
    ("embed", "photos", "new", "--dry-run", "--model", "@"): (*NOTHING, LONG, "missing", "labels.txt"),
    ("embed", "photos", "new", "--config", "@"): (*NOTHING, LONG, "missing", "photos", "binary", *YAML),
    ("model", "show", "@"): (*NOTHING, LONG, "missing", "labels.txt"),
    ("backfill", "@", "new", "--start", "2026-11-01", "--dry-run"): (*NOTHING, LONG, "missing"),
}
NUMBERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("search", "out", "--id", "item-00001", "--top"): ("nan", "0", "-1", "abc", "1e9"),
    ("evaluate", "out", "--sample"): ("nan", "0", "-1", "1,5"),
    ("classify", "out", "--labels", "labels.txt", "--logit-scale"): ("nan", "inf", "-1", "0", "abc"),
    ("dedup", "out", "--rung", "image", "--image-cosine"): ("nan", "inf", "-1", "2"),
    ("find", "out", "labels.txt", "--image-cosine"): ("nan", "inf", "1", "abc"),
    ("find", "out", "labels.txt", "--phash-radius"): ("nan", "-1", "11"),
    ("embed", "photos", "new", "--dry-run", "--gpus-per-embedder"): ("nan", "inf", "1e400", "-1"),
    ("embed", "photos", "new", "--dry-run", "--read-timeout-s"): ("nan", "inf", "-1", "0"),
    ("embed", "photos", "new", "--dry-run", "--max-quarantine"): ("nan", "inf", "-0.1", "1.1"),
    ("embed", "photos", "new", "--dry-run", "--max-text-chars"): ("nan", "0", "-1", "1.5"),
    ("embed", "photos", "new", "--dry-run", "--run-date"): ("2026-13-01", "0000-00-00", "abc", "nan"),
    ("backfill", "d={date}", "new", "--start", "2026-11-01", "--dry-run", "--poll-s"): ("nan", "inf", "0", "-1"),
}
LINES = [
    (line, word)
    for line, words in (PLACES | {(*line, "@"): words for line, words in NUMBERS.items()}).items()
    for word in words
]
DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "cut": lambda identity, rows: rows.write_bytes(rows.read_bytes()[:-50]),
    "overwritten": lambda identity, rows: rows.write_bytes(
        rows.read_bytes()[:200] + bytes(4000) + rows.read_bytes()[4200:]
    ),
    "no rows": lambda identity, rows: rows.write_bytes(b""),
    "other rows": lambda identity, rows: pq.write_table(pa.table({"x": [1]}), rows),
    "identity cut": lambda identity, rows: identity.write_bytes(identity.read_bytes()[:60]),
    "identity types": lambda identity, rows: identity.write_text(json.dumps({"hanclip_dataset": [1]})),
    "identity dim": lambda identity, rows: identity.write_text(identity.read_text().replace('"dim": 8', '"dim": -8')),
    "another dim": lambda identity, rows: identity.write_text(identity.read_text().replace('"dim": 8', '"dim": 16')),
}
OVER_DATASET = [("status",), ("search", "--id", "item-00001"), ("similarity",), ("export", "rows", "--to", "npy")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    commit(Dataset.open_or_create(str(folder / "out"), an_identity()), 1, some_records(40))
    (folder / "photos").mkdir()
    files = {
        "photos/a.txt": "猫",
        "labels.txt": "猫\n狗\n",
        "empty": "",
        "list.yaml": "- 1\n",
        "list.json": "[1, 2]",
        "deep.yaml": "[" * 400,
        "types.yaml": "source: 7\nmodel: [a]\noutput: {uri: {a: b}}",
        "nan.yaml": "output: {max_quarantine: .nan}",
        "keys.yaml": "1: 2\n? [a, b]\n: c",
        "nul.yaml": 'output: {uri: "a\\0b"}',
        "surrogate.yaml": 'output: {uri: "a\\uD800"}',
        "tag.yaml": "source: !!python/object:os.system {}",
        "bad.parquet": "text",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "binary").write_bytes(bytes(range(256)) * 4)
    (folder / "gbk.yaml").write_bytes("model: {name: 模型}".encode("gbk"))
    return folder


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "300")


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Exit code and stderr of a command that fails."""
    with pytest.raises(SystemExit) as ended:
        main(argv)
    code, err = int(ended.value.code or 0), capsys.readouterr().err
    assert code in (1, 2), (argv, code)
    assert "rror" in err
    assert "Traceback" not in err
    assert "Internal error" not in err, (argv, err)
    return code, err


def test_there_are_two_hundred_of_them() -> None:
    assert len(LINES) + len(DAMAGES) * len(OVER_DATASET) >= 200


@pytest.mark.parametrize(("line", "word"), LINES, ids=lambda part: ascii(part)[:30])
def test_a_mistake_is_named(line: tuple[str, ...], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    place = line.index("@")
    code, err = failure(capsys, *(word if one == "@" else one for one in line))
    before = line[place - 1]
    option = {before, before[2:].replace("-", "_")} if before.startswith("--") else {f"argument {place + 1}"}
    named = {word.strip(), ascii(word)[1:-1], *option} - {"", "-"}
    assert any(name in err.lower() for name in named), err
    if word in NOTHING or line[:-1] in NUMBERS:
        assert code == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_dataset_is_named(
    damage: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "out", tmp_path / "out")
    DAMAGES[damage](tmp_path / "out" / "_dataset.json", next((tmp_path / "out").rglob("*.parquet")))
    failed = 0
    for command, *rest in OVER_DATASET:
        if (command, damage) == ("status", "overwritten") or (command, damage) == ("status", "another dim"):
            continue  # it reads counts alone
        _, err = failure(capsys, command, str(tmp_path / "out"), *rest)
        failed += "hanclip verify" in err or "_dataset.json" in err or ".parquet" in err
    assert failed >= 3


class Hostile(fsspec.AbstractFileSystem):
    """A store of which every call raises the error that the address names."""

    protocol = "hostile"
    errors: dict[str, Exception] = {  # noqa: RUF012 - read by each test
        "value": ValueError("wrong\nand long"),
        "key": KeyError("x"),
        "type": TypeError("no such argument"),
        "duckdb": duckdb.ConversionException("cannot cast"),
        "arrow": pa.ArrowInvalid("not a file"),
        "memory": MemoryError(),
        "folder": IsADirectoryError(21, "Is a directory", "/a"),
        "other": OSError("something"),
        "runtime": RuntimeError("loop is closed"),
    }

    def _raise(self, path: str, *_: Any, **__: Any) -> Any:
        raise self.errors[path.rpartition("://")[2].partition("/")[0]]

    info = ls = cat_file = open = _open = exists = isdir = isfile = _raise


@pytest.mark.parametrize("kind", Hostile.errors)
def test_an_exception_of_a_library_is_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    fsspec.register_implementation("hostile", Hostile, clobber=True)
    with pytest.raises(SystemExit) as ended:
        main(["status", f"hostile://{kind}/out"])
    err = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert len(err.splitlines()) == 1, err
    assert "Traceback" not in err
    if kind in ("key", "type"):
        assert f"Internal error, {type(Hostile.errors[kind]).__name__}: " in err
        assert "report it; --debug shows" in err


@pytest.mark.parametrize("given", [["--debug"], []])
def test_the_traceback_is_for_those_who_ask(
    given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not given:
        monkeypatch.setenv("HANCLIP_DEBUG", "1")
    with pytest.raises(SystemExit) as ended:
        main([*given, "status", "missing"])
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: There is no dataset at missing")


@pytest.mark.parametrize(
    "call",
    [
        lambda: parse({"source": 7}),
        lambda: parse({"source": {"uris": [""]}}),
        lambda: parse({"source": {"uris": ["a\0"]}}),
        lambda: parse({"source": {"uris": [SURROGATE]}}),
        lambda: parse({"output": {"max_quarantine": float("nan")}}),
        lambda: parse({"cluster": {"grace_s": float("inf")}}),
        lambda: parse([]),
        lambda: validated(EvaluateRequest, {"out": "out", "pairs": ""}, "wrong"),
        lambda: validated(ClassifyRequest, {"out": "out", "labels": "a\0"}, "wrong"),
        lambda: Dataset.open(LONG),
        lambda: Dataset.open("a\0"),
        lambda: list(latest(LONGER)),
        lambda: storage.read_bytes("a\0"),
        lambda: storage.read_bytes(SURROGATE),
        lambda: storage.read_bytes(LONG),
        lambda: storage.read_bytes("photos"),
        lambda: storage.exists(LONGER),
        lambda: list(storage.list_objects(LONG)),
        lambda: vectors_of("out", ["a\0"], "image_embedding"),
    ],
)
def test_functions_raise_the_errors_of_the_project(call: Callable[[], object]) -> None:
    with pytest.raises(HanclipError):
        call()
