"""The configurations that runs store: a damaged one is an error that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.dataset.history import stored_config
from pipeline.errors import ConfigError, StorageError


def test_a_stored_configuration_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "_runs" / "run-1" / "config.json"
    path.parent.mkdir(parents=True)
    assert stored_config(str(tmp_path), "run-1") is None
    path.write_text('{"source": ')
    with pytest.raises(StorageError, match=r"_runs/run-1/config\.json is damaged .*: restore it from a copy"):
        stored_config(str(tmp_path), "run-1")
    path.write_text('{"source": {"of_a_later_version": 1}}')
    with pytest.raises(ConfigError, match=r"_runs/run-1/config\.json is not valid:\n  source\.of_a_later_version"):
        stored_config(str(tmp_path), "run-1")
