"""Flows on a Prefect server with their jobs in this process: parameters, states, artifacts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest

from flows.backfill.request import BackfillRequest
from flows.jobs.target import TargetConfig
from pipeline.config import parse
from tests.fixtures.pictures import write_folder
from tests.fixtures.processes import until

ROWS = 24


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", ROWS)


def config(source: Path | str, out: Path):
    return parse(
        {
            "source": {"uris": [str(source)]},
            "model": {"name": "demo"},
            "output": {"uri": str(out) if out != Path() else ""},
            "cluster": {"decoders": 1, "embedders": 1},
        }
    )


@pytest.mark.parametrize("name", ["backfill", "embed", "nightly", "reap"])
def test_the_form_of_every_flow_is_complete(name):
    """Every parameter and field has a description."""
    from prefect.utilities.callables import parameter_schema

    flow = getattr(import_module(f"flows.scheduled.{name}"), name)
    schema = parameter_schema(flow.fn).model_dump()
    fields = [*schema["properties"].items()]
    for definition in schema["definitions"].values():
        fields += definition.get("properties", {}).items()
    undescribed = [
        name for name, field in fields if not (field.get("description") or "$ref" in field or "allOf" in field)
    ]
    assert undescribed == []


def test_the_server_rejects_invalid_parameters_when_a_run_is_created(prefect_here):
    from flows.scheduled.nightly import nightly

    deployment_id = nightly.to_deployment("form").apply()
    good = {"config": {"source": {"uris": ["a/"]}, "output": {"uri": "b"}}}

    def create(**parameters: object) -> int:
        path = f"/deployments/{deployment_id}/create_flow_run"
        return prefect_here.answer("POST", path, {"parameters": {**good, **parameters}})

    refused = [
        {"lookback_days": -1},
        {"config": {"source": {"read_concurrency": 0}}},
        {"config": {"source": {"urls": ["a/"]}}},
        {"target": {"backend": "slurm"}},
    ]
    assert [create(**parameters) for parameters in refused] == [409] * len(refused)
    assert create() == 200
    prefect_here.call("DELETE", f"/deployments/{deployment_id}")


def run(flow, *arguments: object, **parameters: object):
    """Call a flow in this process; returns its final state."""
    return flow(*arguments, return_state=True, target=TargetConfig(poll_s=1), **parameters)


def test_embed_plans_runs_and_reports(prefect_here, local_ray, photos, tmp_path):
    from flows.scheduled.embed import embed

    (photos / "broken.jpg").write_bytes(b"not a picture")
    settings = config(photos, tmp_path / "out")
    dry = run(embed, settings, dry_run=True)
    assert (dry.name, dry.message) == ("Completed", "Dry run, nothing was started: 25 of 25 records to do")
    assert not (tmp_path / "out").exists()
    state = run(embed, settings)
    assert (state.name, state.message) == ("Completed", "rows in 25 = 24 embedded + 1 quarantined")
    flow_run_id = str(state.state_details.flow_run_id)
    shown = prefect_here.artifacts(flow_run_id)
    assert set(shown) == {"embed-summary", "embed-report"}
    summary = shown["embed-summary"]
    assert summary["description"] == "Complete; data complete"
    assert "**Data:** Complete, except 1 record in quarantine that could not be embedded." in summary["data"]
    assert f"[every run and step in detail](/artifacts/artifact/{shown['embed-report']['id']})" in summary["data"]
    assert "| not_an_image | 1 | fix the source |" in shown["embed-report"]["data"]
    flow_run = prefect_here.flow_run(flow_run_id)
    assert flow_run["name"] == f"embed {tmp_path.name}/photos -> {tmp_path.name}/out"
    until(lambda: "embedded" in prefect_here.logs(flow_run_id), "the log of the job", 20)

    strict = settings.output.model_copy(update={"max_quarantine": 0.01})
    state = run(embed, settings.model_copy(update={"output": strict}))
    assert state.name == "Failed"
    counts = "Too much in quarantine: rows in 25 = 0 embedded + 0 quarantined + 25 already done"
    assert state.message.startswith(f"{counts}; 4 % of the dataset's records are in quarantine")
    shown = prefect_here.artifacts(str(state.state_details.flow_run_id))
    assert shown["embed-summary"]["data"].startswith("# Too much in quarantine\n\n**Data:** Complete: every row")
    assert "too much in quarantine" in shown["embed-report"]["data"]


def test_nightly_runs_the_days_up_to_the_scheduled_one(prefect_here, local_ray, tmp_path):
    from flows.scheduled.nightly import nightly

    today = datetime.now(UTC).date()
    days = [today - timedelta(days=back) for back in (2, 0)]
    for day in days:
        write_folder(tmp_path / f"dt={day}", 8)
        for picture in (tmp_path / f"dt={day}").iterdir():
            picture.rename(picture.with_name(f"{day}-{picture.name}"))
    state = run(nightly, config(tmp_path / "dt={date}" / "*.jpg", tmp_path / "out"), lookback_days=2)
    assert state.message == "rows in 16 = 16 embedded + 0 quarantined; 1 of 3 dates without files", state.message
    assert sorted(path.name for path in (tmp_path / "out" / "embeddings").iterdir()) == [
        f"run_date={day}" for day in days
    ]
    flow_run = prefect_here.flow_run(str(state.state_details.flow_run_id))
    assert flow_run["name"] == f"nightly {today} -> {tmp_path.name}/out"


def test_backfill_runs_missing_partitions_and_shows_its_grid(prefect_here, local_ray, tmp_path):
    from flows.scheduled.backfill import backfill

    write_folder(tmp_path / "a", 4)
    settings = config(tmp_path / "{key}" / "*.jpg", tmp_path / "out")
    request = BackfillRequest(partitions=("a", "c"))
    dry = run(backfill, settings, request.model_copy(update={"dry_run": True}))
    assert dry.message == "Dry run, nothing was started: 2 partitions: 2 waiting"
    state = run(backfill, settings, request)
    assert (state.name, state.message) == ("Completed", "2 partitions: 1 done, 1 empty")
    shown = prefect_here.artifacts(str(state.state_details.flow_run_id))
    grid = json.loads(shown["backfill-grid"]["data"])
    assert [(row["partition"], row["status"], row["embedded"]) for row in grid] == [
        ("a", "done", 4),
        ("c", "empty", 0),
    ]
    assert "4 records, 0 quarantined, in 2 partitions" in shown["backfill-report"]["data"]
    assert "**Data:** Complete: every partition is done or empty; 4 records embed" in shown["backfill-summary"]["data"]
    again = run(backfill, settings, request)
    assert (again.name, again.message) == ("Completed", "Nothing to do: 2 partitions: 1 done, 1 empty")


def test_invalid_parameters_fail_before_a_job_is_made(prefect_here, photos, tmp_path):
    from flows.scheduled.embed import embed
    from flows.scheduled.nightly import nightly

    for state, message in (
        (run(embed, config(photos, Path())), "config.output.uri is empty"),
        (run(nightly, config(photos, tmp_path / "out"), timezone="Mars/Olympus"), "'Mars/Olympus' is not a time zone"),
    ):
        assert (state.name, message in state.message) == ("Failed", True), state.message
    assert not (tmp_path / "out").exists()
