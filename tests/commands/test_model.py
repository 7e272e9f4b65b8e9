"""Test `hanclip model list|show|convert` and `hanclip embed --model X.pt` against known values."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from flows.cli import main
from pipeline.config import ModelConfig
from pipeline.images.decode import decode
from pipeline.model.checkpoints import resolve
from pipeline.model.chinese_clip import ChineseClip
from tests.fixtures.checkpoints import vocabulary
from tests.fixtures.commands import Run
from tests.fixtures.originals import LOGIT_SCALE, SMALL, TEXTS, tensors, write_original, write_pictures
from tests.fixtures.places import DATA

GOLDEN = DATA / "golden.npz"
HANCLIP = [sys.executable, "-m", "flows.cli"]


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "hanclip-cache"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module", params=["rn50", "vit-b-16"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, write(tmp_path_factory.mktemp("original"), request.param)


def write(folder: Path, name: str) -> Path:
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    return write_original(folder / "clip.pt", SMALL[name], training=True)


def golden(name: str, part: str) -> np.ndarray:
    with np.load(GOLDEN) as stored:
        return stored[f"{name}.{part}"]


def run_cli(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in argv])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def run_json(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    code, out, err = run_cli(capsys, "model", *argv, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def in_empty_home(home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub"), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([*HANCLIP, "model", *argv], env=env, capture_output=True, text=True, check=False)


def test_the_five_released_models_are_listed_with_the_files_to_fetch(tmp_path: Path) -> None:
    run = in_empty_home(tmp_path, "list", "--json")
    assert (run.returncode, run.stderr) == (0, "")
    found = [json.loads(line) for line in run.stdout.splitlines()]
    facts = [(one["name"], one["dim"], one["image_size"], one["image_tokens"], one["parameters"]) for one in found]
    assert facts == [  # as their authors publish them
        ("rn50", 1024, 224, 50, 76_989_537),
        ("vit-b-16", 512, 224, 197, 188_262_913),
        ("vit-l-14", 768, 224, 257, 406_233_089),
        ("vit-l-14-336", 768, 336, 577, 406_560_769),
        ("vit-h-14", 1024, 224, 257, 957_598_209),
    ]
    assert [round(one["image_parameters"] / 1e6) for one in found] == [38, 86, 304, 304, 632]
    for one in found:
        assert one["weights"] is None
        assert f"https://huggingface.co/{one['hub_id']}" in one["missing"]
        assert one["logit_scale"] == 100
        assert one["memory"][0]["weights_bytes"] == 4 * one["parameters"]


def test_a_released_model_is_shown_without_torch_and_without_the_network(tmp_path: Path) -> None:
    script = (
        "import sys; from flows.cli import main\n"
        "try: main(['model', 'show', 'ViT-H-14'])\n"
        "except SystemExit as ended: assert not ended.code\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules and 'ray' not in sys.modules"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "COLUMNS": "200"}
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
    for fact in ("32 layers, width 1280, 16 heads", "957,598,209", "its first use downloads it", "1024 numbers"):
        assert fact in run.stdout


def test_an_unknown_model_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run_cli(capsys, "model", "show", "vit-b-17")
    assert code == 2
    assert "There is no model vit-b-17: give rn50, vit-b-16," in err
    for name in ("", " "):
        code, _, err = run_cli(capsys, "model", "show", name)
        assert code == 2
        assert "Argument 3 is empty" in err


def test_a_file_is_described_from_its_tensors(capsys: pytest.CaptureFixture[str], original: tuple[str, Path]) -> None:
    name, path = original
    card = run_json(capsys, "show", path)
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    count = {
        key: values.size
        for key, values in tensors(SMALL[name])
        if "bert.pooler" not in key and not key.endswith(buffers)
    }
    images = sum(number for key, number in count.items() if key.startswith("visual."))
    assert (card["parameters"], card["image_parameters"]) == (sum(count.values()), images)
    assert card["logit_scale"] == pytest.approx(math.exp(LOGIT_SCALE), rel=1e-6)
    assert (card["dim"], card["image_size"]) == (32, 64)
    weights = card["weights"]
    assert weights["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (weights["path"], weights["dtype"]) == (str(path), "F32")
    assert weights["size_bytes"] < path.stat().st_size  # the optimizer's state is not counted
    assert weights["vocabulary_is_standard"] is False
    assert str(path) in run_cli(capsys, "model", "show", path)[1]


def test_a_file_without_a_vocabulary_uses_the_bundled_one(original: tuple[str, Path], tmp_path: Path) -> None:
    shutil.copy(original[1], tmp_path / "alone.pt")
    run = in_empty_home(tmp_path, "show", str(tmp_path / "alone.pt"), "--json")
    card = json.loads(run.stdout)
    assert card["weights"]["vocabulary_is_standard"] is True
    assert card["missing"] is None


def test_a_converted_model_gives_the_same_vectors(
    capsys: pytest.CaptureFixture[str], original: tuple[str, Path], tmp_path: Path
) -> None:
    name, path = original
    out = tmp_path / "converted"
    plan = run_json(capsys, "convert", path, out, "--dry-run")
    assert not out.exists()
    assert plan["weights_sha256"] is None
    out.mkdir()
    done = run_json(capsys, "convert", path, out)
    assert done["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert done["weights_sha256"] == hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    files = {file.name: file.stat().st_mode & 0o777 for file in out.iterdir()}
    assert sorted(files) == ["config.json", "model.safetensors", "preprocessor_config.json", "vocab.txt"]
    assert len(set(files.values())) == 1
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []
    assert run_json(capsys, "show", out)["config"] == run_json(capsys, "show", path)["config"]
    spec = resolve(ModelConfig(name=str(out)))
    assert spec.model_sha256 == resolve(ModelConfig(name=str(path))).model_sha256  # one dataset takes both
    clip = ChineseClip.load(spec, "fp32", "cpu")
    pictures = write_pictures(tmp_path / "pictures")
    pixels = np.stack([decode(picture.read_bytes(), clip.image_size, 10**8).pixels for picture in pictures])
    np.testing.assert_allclose(clip.encode_images(pixels), golden(name, "images"), rtol=0, atol=1e-5)
    np.testing.assert_allclose(clip.encode_texts(TEXTS), golden(name, "texts"), rtol=0, atol=1e-5)


def test_transformers_loads_a_converted_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from PIL import Image
    from transformers import BertTokenizer, ChineseCLIPModel
    from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil

    (tmp_path / "original").mkdir()
    run_json(capsys, "convert", write(tmp_path / "original", "vit-l-14"), tmp_path / "out")
    model = ChineseCLIPModel.from_pretrained(tmp_path / "out").eval()
    processor = ChineseCLIPImageProcessorPil.from_pretrained(tmp_path / "out")
    tokenizer = BertTokenizer.from_pretrained(tmp_path / "out")
    pictures = [Image.open(path).convert("RGB") for path in write_pictures(tmp_path / "pictures")]
    with torch.no_grad():
        images = model.get_image_features(**processor(pictures, return_tensors="pt")).pooler_output.numpy()
        words = tokenizer([TEXTS[0], TEXTS[7]], padding=True, return_tensors="pt", return_token_type_ids=False)
        texts = model.get_text_features(**words).pooler_output.numpy()
    np.testing.assert_allclose(unit(images), golden("vit-l-14", "images"), rtol=0, atol=1e-5)
    np.testing.assert_allclose(unit(texts), golden("vit-l-14", "texts")[[0, 7]], rtol=0, atol=1e-5)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_convert_refuses_to_overwrite_or_to_convert_twice(
    capsys: pytest.CaptureFixture[str], original: tuple[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, _, err = run_cli(capsys, "model", "convert", original[1], tmp_path / "mine")
    assert (code, "exists and is not an empty folder" in err) == (2, True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    code, _, err = run_cli(capsys, "model", "convert", original[1], "s3://bucket/model")
    assert (code, "is not a local folder" in err) == (2, True)
    code, _, err = run_cli(capsys, "model", "convert", "demo", tmp_path / "demo")
    assert (code, "is already in the Hugging Face format" in err) == (2, True)
    assert not (tmp_path / "demo").exists()


def test_a_killed_conversion_leaves_no_partial_folder(tmp_path: Path) -> None:
    (tmp_path / "original").mkdir()
    path, out = write(tmp_path / "original", "vit-h-14"), tmp_path / "out"
    process = subprocess.Popen([*HANCLIP, "model", "convert", str(path), str(out)])
    while process.poll() is None and not list(tmp_path.glob(".out.*")):
        time.sleep(0.001)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()


@pytest.mark.slow
def test_a_run_with_an_original_checkpoint_writes_the_authors_vectors(
    local_ray: None, hanclip: Run, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    path = write(tmp_path / "model", "rn50")
    pictures = write_pictures(tmp_path / "photos")
    texts = [TEXTS[i] for i in (0, 2, 3, 4, 5, 6)]
    for picture, text in zip(pictures, texts, strict=True):
        picture.with_suffix(".txt").write_text(text, encoding="utf-8")
    options = ("--dtype", "fp32", "--decoders", 1, "--embedders", 1)
    hanclip("embed", tmp_path / "photos", tmp_path / "out", "--model", path, *options)
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "out" / "embeddings").to_pylist()}
    found = [rows[picture.name] for picture in pictures]
    for part, expected in (
        ("image_embedding", golden("rn50", "images")),
        ("text_embedding", golden("rn50", "texts")[[0, 2, 3, 4, 5, 6]]),
    ):
        vectors = np.array([row[part] for row in found], dtype=np.float32)
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    identity = json.loads((tmp_path / "out" / "_dataset.json").read_text())
    assert identity["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
