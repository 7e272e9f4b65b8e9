"""Test checkpoints on a web server."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pipeline.config import ModelConfig
from pipeline.model.checkpoints import resolve
from tests.fixtures.checkpoints import vocabulary
from tests.fixtures.originals import SMALL, write_original
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
