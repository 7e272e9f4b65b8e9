"""`hanclip status`: the line of a running, silent, stopped or complete run."""

from __future__ import annotations

from collections import Counter

import pytest

from flows.commands.status import _run, _status
from pipeline.dataset.checks.status import RunStatus, Status
from pipeline.jobs.progress import Progress
from pipeline.stats import Stats
from tests.fixtures.datasets import an_identity

STATS = Stats(embedded=45, quarantined=Counter(timeout=5))
AT = "2026-11-29T12:34:56+00:00"
FLOWING = Progress("r", "running", rows_planned=200, stats=STATS, records_per_s=12.5, eta_s=12.0).to_json()


@pytest.mark.parametrize(
    ("run", "completed_since", "text"),
    [
        (
            RunStatus("r", "running", FLOWING, AT),
            False,
            "running at 2026-11-29 12:34:56 UTC, 50/200 records (25 %), 12.5 records/s, 12 s left",
        ),
        (
            RunStatus(
                "r", "running", {**FLOWING, "crew_changes": ["4 decoders instead of 2: 2 nodes instead of 1"]}, AT
            ),
            False,
            "running at 2026-11-29 12:34:56 UTC, 50/200 records (25 %), 12.5 records/s, 12 s left, 4 decoders instead"
            " of 2: 2 nodes instead of 1",
        ),
        (RunStatus("r", "planning", {}, AT), False, "planning at 2026-11-29 12:34:56 UTC"),
        (RunStatus("r", "stopped", {"rows_left": 40}), False, "stopped, 40 rows left"),
        (RunStatus("r", "stopped", {"rows_left": 40}), True, "stopped"),
        (RunStatus("r", "complete", {"rows_left": 0}), False, "complete"),
        (
            RunStatus("r", "complete", {"rows_left": 0, "computing": ["cpu, float32, hanclip 1.0"]}),
            False,
            "complete, on cpu, float32, hanclip 1.0",
        ),
    ],
)
def test_a_run_is_described_in_one_line(run, completed_since, text):
    assert _run(run, completed_since) == text


@pytest.mark.parametrize(
    ("preprocessing", "has_images", "shown"),
    [
        ("squash-bicubic-224/white/v1", True, True),
        ("squash-bicubic-224/white/v2", True, False),
        ("squash-bicubic-224/white/v1", False, False),
    ],
)
def test_datasets_whose_pixels_depended_on_pillow_say_so(preprocessing, has_images, shown):
    identity = an_identity(preprocessing=preprocessing, has_images=has_images)
    found = Status(
        rows=1,
        quarantined=Counter(),
        examples={},
        shards=1,
        size_bytes=1,
        uri="out",
        identity=identity,
        runs=(),
        earlier_runs=0,
    )
    assert ("pixels" in dict(_status(found))) is shown
