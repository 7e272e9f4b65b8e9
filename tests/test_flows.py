"""The flows against a real Prefect server, their jobs in this process: parameters, states, artifacts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pictures import write_folder

from pipeline.config import parse

ROWS = 24


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", ROWS)


def config(source: Path | str, out: Path):
    return parse({"source": {"uris": [str(source)]}, "model": {"name": "demo"}, "output": {"uri": str(out)}})


@pytest.mark.parametrize("name", ["embed", "nightly", "reap"])
def test_the_form_of_every_flow_is_complete(name):
    """Every parameter and every field has a type and a description, and nonsense is refused when a run is made."""
    from prefect.utilities.callables import parameter_schema

    import flows.scheduled

    flow = getattr(flows.scheduled, name)
    schema = parameter_schema(flow.fn).model_dump()
    fields = [*schema["properties"].items()]
    for definition in schema["definitions"].values():
        fields += definition.get("properties", {}).items()
    undescribed = [
        name for name, field in fields if not (field.get("description") or "$ref" in field or "allOf" in field)
    ]
    assert undescribed == []


def test_the_server_refuses_nonsense_when_a_run_is_made(prefect_here):
    import flows.scheduled

    deployment = flows.scheduled.nightly.to_deployment("form")
    deployment_id = deployment.apply()
    good = {"config": {"source": {"uris": ["a/"]}, "output": {"uri": "b"}}}
    for wrong in (
        {"lookback_days": -1},
        {"config": {"source": {"read_concurrency": 0}}},
        {"config": {"source": {"urls": ["a/"]}}},
        {"target": {"backend": "slurm"}},
        {"lookback": 3},
    ):
        made = prefect_here.try_call("POST", f"/deployments/{deployment_id}/create_flow_run", {"parameters": {**good, **wrong}})
        assert made == 409, wrong
    assert prefect_here.try_call("POST", f"/deployments/{deployment_id}/create_flow_run", {"parameters": good}) == 201
