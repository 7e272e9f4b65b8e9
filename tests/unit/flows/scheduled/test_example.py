"""The files of `examples/nightly-s3`, as the flow reads them."""

from __future__ import annotations

import json
from datetime import date

import pytest

from flows.options.run import build
from pipeline.jobs.night import check, nightly_runs
from tests.fixtures.examples import EXAMPLES

pytest.importorskip("prefect")


def test_the_flow_accepts_source_and_steps_of_the_example() -> None:
    from flows.scheduled.curate import nightly_steps
    from flows.scheduled.nightly import nightly

    config = check(build((), EXAMPLES / "nightly-s3" / "catalog.yaml", {}))
    given = json.loads((EXAMPLES / "nightly-s3" / "steps.json").read_text(encoding="utf-8"))
    night = nightly.validate_parameters({"config": config.model_dump(mode="json"), **given})
    assert len(nightly_runs(config, date(2026, 1, 31), night["lookback_days"])) == 4
    steps = nightly_steps(config.output.uri, date(2026, 1, 31), night["compact"], night["dedup"], night["filter"])
    assert [step.kind for step in steps] == ["compact", "dedup", "filter"]
