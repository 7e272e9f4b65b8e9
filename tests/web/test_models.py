"""Test checkpoints on a web server."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config import ModelConfig
from pipeline.errors import ModelError
from pipeline.model.checkpoints import resolve
from tests.fixtures.checkpoints import vocabulary, write_checkpoint
from tests.fixtures.originals import SMALL, write_original
from tests.fixtures.servers.model_hub import COMMIT, ModelHub
from tests.fixtures.servers.web import Site


def test_a_checkpoint_on_a_web_server_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, site: Site
) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "cache"))
    plain = write_original(tmp_path / "clip.pt", SMALL["vit-b-16"])
    vocabulary_file = "\n".join(vocabulary()).encode() + b"\n"
    site.files = {"/models/clip.pt": plain.read_bytes(), "/models/vocab.txt": vocabulary_file}
    spec = resolve(ModelConfig(name=site.url("/models/clip.pt")))
    assert spec.weights_sha256 == hashlib.sha256(plain.read_bytes()).hexdigest()
    assert sorted(path.name for path in Path(spec.folder).iterdir()) == ["clip.pt", "vocab.txt"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "cache"))
    server = ModelHub()
    server.folder = write_checkpoint(tmp_path / "served")
    (server.folder / "README.md").write_text("not needed")
    server.start()
    yield server
    server.stop()


def test_a_mirror_of_the_hub_is_used(hub: ModelHub, tmp_path: Path) -> None:
    script = (
        "from pipeline.config import ModelConfig; from pipeline.model.checkpoints import resolve\n"
        "spec = resolve(ModelConfig(name='ORG/NAME')); print(spec.revision, spec.model_sha256)"
    )
    env = {**os.environ, "HF_ENDPOINT": hub.url(""), "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    env.pop("HF_HUB_CACHE", None)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert run.stdout.split() == [COMMIT, resolve(ModelConfig(name=str(hub.folder))).model_sha256], run.stderr
    assert not any(path.endswith("README.md") for path in hub.requests)


def test_a_model_of_modelscope_is_downloaded_once_and_then_found(
    hub: ModelHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MODELSCOPE_DOMAIN", hub.url(""))
    torch.save({"twice": 1}, hub.folder / "pytorch_model.bin")
    model = ModelConfig(name="modelscope:ORG/NAME")
    first = resolve(model)
    assert sorted(path.name for path in Path(first.folder).iterdir()) == [
        "config.json", "model.safetensors", "preprocessor_config.json", "vocab.txt"
    ]  # fmt: skip
    (hub.folder / "pytorch_model.bin").unlink()
    assert first.model_sha256 == resolve(ModelConfig(name=str(hub.folder))).model_sha256
    asked = len(hub.requests)
    assert resolve(model) == first
    assert len(hub.requests) == asked + 1  # the list of files
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    assert resolve(model) == first
    with pytest.raises(ModelError, match=r"modelscope:ORG/OTHER at revision v2 could not be downloaded .*--local_dir"):
        resolve(ModelConfig(name="modelscope:ORG/OTHER", revision="v2"))
