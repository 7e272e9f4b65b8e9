"""What a dry run takes from the runs before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.dry_run import _earlier
from pipeline.dataset import layout

_WHOLE = {"rows_planned": 9, "rows_left": 1, "seconds": 90.0, "startup_s": 10.0}


def _write_summary(out: Path, run: str, summary: Any) -> None:
    folder = out / layout.RUNS / run
    folder.mkdir(parents=True)
    (folder / layout.SUMMARY).write_text(json.dumps(summary))


@pytest.mark.parametrize("damaged", [None, [1], {"rows_planned": 9}, {"rows_planned": 9, "rows_left": 1}])
def test_a_damaged_summary_is_passed_over(damaged: Any, tmp_path: Path) -> None:
    _write_summary(tmp_path, "20260101T000000.a", _WHOLE)
    _write_summary(tmp_path, "20260102T000000.b", damaged)
    earlier = _earlier(str(tmp_path))
    assert earlier is not None
    assert earlier.records == 8
