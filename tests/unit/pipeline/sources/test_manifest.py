"""Manifests of S3 Inventories that say what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.errors import SourceError
from pipeline.sources.folder.inventory.manifest import read_manifest


def test_a_manifest_of_a_time_that_no_calendar_has_is_refused(tmp_path: Path) -> None:
    plain = {"sourceBucket": "shop", "creationTimestamp": "9" * 18, "fileFormat": "CSV", "fileSchema": "", "files": []}
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(SourceError, match="is no manifest of an S3 Inventory"):
        read_manifest(str(path))
