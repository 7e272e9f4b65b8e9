"""Checkpoints in a bucket."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.config import ModelConfig
from pipeline.model.checkpoints import resolve
from tests.fixtures.checkpoints import write_checkpoint
from tests.fixtures.servers.s3 import S3Server


def test_a_model_in_object_storage_is_copied_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: S3Server
) -> None:
    cache, modern = tmp_path / "cache", write_checkpoint(tmp_path / "modern")
    monkeypatch.setenv("HANCLIP_CACHE", str(cache))
    url = f"{s3.bucket()}/models/tiny"
    for path in modern.iterdir():
        storage.overwrite(f"{url}/{path.name}", path.read_bytes())
    spec = resolve(ModelConfig(name=url))
    assert spec.weights_sha256 == hashlib.sha256((modern / "model.safetensors").read_bytes()).hexdigest()
    assert resolve(ModelConfig(name=f"{url}/")).folder == spec.folder
    assert [p.name for p in (cache / "models").iterdir()] == [Path(spec.folder).name]
    assert (Path(spec.folder) / "vocab.txt").read_bytes() == (modern / "vocab.txt").read_bytes()
