"""The state of a run, as its files tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import storage
from pipeline.dataset.checks.status import RunStatus, _run_status


@pytest.mark.parametrize("damaged", ["", "null", "[1]", "7"])
def test_a_damaged_report_is_passed_over(damaged: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(damaged)
    (tmp_path / "progress.json").write_text('{"state": "running"}')
    found = _run_status(("r", list(storage.list_objects(str(tmp_path)))))
    assert found == RunStatus("r", "running", {"state": "running"}, "")
