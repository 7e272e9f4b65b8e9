"""Test texts longer than 52 tokens: truncated, averaged over windows, or quarantined; always counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from tests.fixtures.checkpoints import vocabulary, write_checkpoint

LONG = "红色连衣裙春秋新款" * 14  # 126 tokens: windows of 42
TEXTS = {"short": "红色连衣裙", "full": "红" * 50, "over": "红" * 51, "long": LONG}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "titles.jsonl"
    rows = [json.dumps({"id": id_, "text": text}, ensure_ascii=False) for id_, text in TEXTS.items()]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Run a command with --json: its exit code and the last line."""
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments), "--json"])
    return int(ended.value.code or 0), json.loads(capfd.readouterr().out.splitlines()[-1])


def vectors(out: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(out / "embeddings")
    return {row["id"]: np.array(row["text_embedding"]) for row in table.to_pylist()}


def reference(model: Path, *windows: str) -> np.ndarray:
    """The normalised mean of the windows' normalised vectors, computed with transformers alone."""
    import torch
    from transformers import ChineseCLIPModel  # Takes seconds, also in processes that collect this file and run others.

    place = {word: number for number, word in enumerate(vocabulary())}
    clip = ChineseCLIPModel.from_pretrained(model).eval()
    total = torch.zeros(clip.config.projection_dim)
    for window in windows:
        ids = torch.tensor([[101, *(place[letter] for letter in window), 102]])
        with torch.inference_mode():
            total += torch.nn.functional.normalize(clip.get_text_features(input_ids=ids).pooler_output[0], dim=0)
    return torch.nn.functional.normalize(total, dim=0).numpy()


@pytest.mark.usefixtures("local_ray")
def test_the_three_overflow_modes(model: Path, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    workers = ("--decoders", 1, "--embedders", 1)
    embed = ("embed", source, "--model", model, "--dtype", "fp32", *workers)
    mean, cut = (tmp_path / name for name in ("mean", "cut"))

    code, ended = run(capfd, *embed[:2], cut, *embed[2:], "--text-overflow", "quarantine", "--max-quarantine", "0.6")
    assert (code, ended["stats"]["quarantined"], ended["stats"]["embedded"]) == (0, {"text_too_long": 2}, 2)
    code, ended = run(capfd, "retry", cut, "--reason", "text_too_long", "--text-overflow", "truncate", *workers)
    stats = ended["stats"]
    assert (code, stats["embedded"], stats["texts"], stats["texts_too_long"]) == (0, 2, 2, 2)
    assert set(vectors(cut)) == set(TEXTS)
    np.testing.assert_allclose(vectors(cut)["long"], reference(model, LONG[:50]), atol=1e-6)
    np.testing.assert_allclose(vectors(cut)["over"], vectors(cut)["full"], atol=1e-6)

    code, ended = run(capfd, *embed[:2], mean, *embed[2:], "--text-overflow", "mean-of-windows")
    assert (code, ended["stats"]["texts"], ended["stats"]["texts_too_long"]) == (0, 4, 2)
    expected = reference(model, LONG[:42], LONG[42:84], LONG[84:])
    np.testing.assert_allclose(vectors(mean)["long"], expected, atol=1e-6)
    np.testing.assert_allclose(vectors(mean)["over"], reference(model, "红" * 25, "红" * 26), atol=1e-6)
    for id_ in ("short", "full"):
        np.testing.assert_allclose(vectors(mean)[id_], vectors(cut)[id_], atol=1e-6)

    code, ended = run(capfd, *embed[:2], mean, *embed[2:])
    assert code == 2
    assert "text_overflow: the dataset has 'mean-of-windows', this run has 'truncate'" in ended["message"]
