"""prefect.yaml: every key is one that Prefect knows, every parameter one that its flow takes, and a real server agrees.

`prefect deploy` ignores keys that it does not know, a deploy could undo what an operator changed, and a resolver may
pick versions of fastapi and SQLAlchemy with which a server starts and yet creates no scheduled run.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.workers.process import ProcessJobConfiguration
from pydantic import BaseModel, TypeAdapter

from flows.dev.services import HEARTBEAT_S
from flows.scheduled.revival.policy import RevivalPolicy
from tests.fixtures.places import ROOT
from tests.fixtures.processes import until
from tests.fixtures.servers.prefect import PREFECT, PrefectServer

FOLDER = ROOT / "infra" / "prefect"
VARIABLES = {
    "HANCLIP_SOURCE": "s3://catalog/images/",
    "HANCLIP_PARTITIONS": "s3://catalog/dt={date}/*.tar",
    "HANCLIP_PARTITIONS_OUT": "s3://catalog/embeddings-by-day",
    "HANCLIP_OUT": "s3://catalog/embeddings",
    "HANCLIP_MODEL": "demo",
    "HANCLIP_RAY_ADDRESS": "http://127.0.0.1:8265",
    "HANCLIP_RAY_PAGE": "https://ray.example.com",
}


def filled() -> dict[str, Any]:
    """The file, with its variables filled in as Prefect does."""
    text = (FOLDER / "prefect.yaml").read_text()
    tree: dict[str, Any] = yaml.safe_load(re.sub(r"{{ \$([A-Z_]+) }}", lambda found: VARIABLES[found[1]], text))
    return tree


#: In short, the automation of an earlier version.
RETIRED = {
    "name": "hanclip-zombies",
    "trigger": {
        "type": "event",
        "posture": "Proactive",
        "after": ["prefect.flow-run.heartbeat"],
        "expect": ["prefect.flow-run.heartbeat"],
        "match": {"prefect.resource.id": "prefect.flow-run.none"},
        "within": 200,
    },
    "actions": [{"type": "do-nothing"}],
}
DEPLOYMENTS = filled()["deployments"]
NAMES = [entry["entrypoint"].rpartition(".")[2] for entry in DEPLOYMENTS]


def unknown(model: type[BaseModel], tree: dict[str, Any]) -> set[str]:
    known = set(model.model_fields) | {field.alias for field in model.model_fields.values() if field.alias}
    return set(tree) - known


def flow_of(entry: dict[str, Any]) -> Any:
    module, _, name = entry["entrypoint"].rpartition(".")
    return getattr(import_module(module), name)


def test_every_flow_is_deployed() -> None:
    assert NAMES == ["embed", "nightly", "backfill", "compact", "dedup", "filter", "sync", "reap"]
    # Schedules of flows that use a cluster are off until an operator switches them on.
    active = [
        name
        for name, entry in zip(NAMES, DEPLOYMENTS, strict=True)
        if any(schedule.get("active", True) for schedule in entry.get("schedules", []))
    ]
    assert active == ["reap"]


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=NAMES)
def test_prefect_knows_every_key(entry: dict[str, Any]) -> None:
    assert unknown(PrefectYamlModel, filled()) == {"definitions"}, "anchors only; Prefect skips it"
    assert not unknown(DeploymentConfig, entry)
    assert not unknown(WorkPoolConfig, entry["work_pool"])
    assert not unknown(ConcurrencyLimitSpec, entry.get("concurrency_limit", {}))
    for schedule in entry.get("schedules", []):
        assert not unknown(RawScheduleConfig, schedule)
    variables = ProcessJobConfiguration.model_fields
    assert set(entry["work_pool"]["job_variables"]) <= set(variables)
    assert "hanclip" in entry["tags"], "reap looks at this tag"


@pytest.mark.parametrize("entry", DEPLOYMENTS, ids=NAMES)
def test_parameters_are_those_of_the_flow(entry: dict[str, Any]) -> None:
    function = flow_of(entry).fn
    hints = get_type_hints(function, include_extras=True)
    for name, value in entry.get("parameters", {}).items():
        assert name in inspect.signature(function).parameters
        TypeAdapter(hints[name]).validate_python(value)


def test_flows_send_heartbeats_as_often_as_reap_expects() -> None:
    assert RevivalPolicy().heartbeat_s == HEARTBEAT_S
    (environment,) = {str(entry["work_pool"]["job_variables"]["env"]) for entry in DEPLOYMENTS}
    assert environment == str({"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S)})


def test_the_dataset_of_a_whole_catalog_has_no_other_source() -> None:
    configs = [entry["parameters"]["config"] for entry in DEPLOYMENTS if "config" in entry["parameters"]]
    for whole in (config for config in configs if config["source"].get("whole_catalog")):
        fed = [config["source"]["uris"] for config in configs if config["output"] == whole["output"]]
        assert all(uris == whole["source"]["uris"] for uris in fed)


def test_a_night_that_hangs_ends_before_the_next() -> None:
    (entry,) = [entry for entry in DEPLOYMENTS if entry["entrypoint"].endswith(".nightly")]
    assert entry["parameters"]["target"]["timeout_s"] < 24 * 3600


def test_a_schedule_and_its_flow_mean_the_same_day() -> None:
    (entry,) = [entry for entry in DEPLOYMENTS if entry["entrypoint"].endswith(".nightly")]
    (schedule,) = entry["schedules"]
    default = inspect.signature(flow_of(entry).fn).parameters["timezone"].default
    assert entry.get("parameters", {}).get("timezone", default) == schedule["timezone"]


@pytest.mark.slow
def test_a_real_server_takes_all_of_it_and_schedules_a_run(prefect_server: PrefectServer) -> None:
    env = {**os.environ, **prefect_server.env, **VARIABLES}
    env["PATH"] = os.pathsep.join([str(Path(PREFECT).parent), env["PATH"]])
    # What an earlier version left: it started flow runs again that were over.
    for _ in range(2):
        prefect_server.call("POST", "/automations/", RETIRED)
    try:
        _deploy(env)
        _resume_the_nightly_schedule(prefect_server)
        assert "nightly/prod: unchanged\n  kept as changed on the server: schedule nightly: active" in _deploy(env)
        found = prefect_server.call("POST", "/deployments/filter", {})
        mine = {entry["entrypoint"]: entry for entry in found if entry["work_pool_name"] == "hanclip"}
        assert set(mine) == {entry["entrypoint"] for entry in DEPLOYMENTS}
        nightly = mine["flows.scheduled.nightly.nightly"]
        assert nightly["parameters"]["config"]["output"] == {"uri": VARIABLES["HANCLIP_OUT"]}
        assert nightly["schedules"][0]["active"]
        reap_id = mine["flows.scheduled.reap.reap"]["id"]
        mine_only = {"deployment_id": {"any_": [reap_id]}}
        run = until(lambda: prefect_server.flow_runs(**mine_only), "a run that the scheduler made", 60)[0]
        assert run["auto_scheduled"]
        assert run["state_type"] == "SCHEDULED"
        automations = prefect_server.call("POST", "/automations/filter", {})
        assert "hanclip-zombies" not in [one["name"] for one in automations]
    finally:
        prefect_server.delete("deployments", work_pool_name="hanclip")
        prefect_server.delete("automations", name="hanclip-zombies")


def _deploy(env: dict[str, str]) -> str:
    done = subprocess.run([FOLDER / "deploy"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _resume_the_nightly_schedule(server: PrefectServer) -> None:
    nightly = server.call("GET", "/deployments/name/nightly/prod")
    (schedule,) = nightly["schedules"]
    assert not schedule["active"]
    server.call("PATCH", f"/deployments/{nightly['id']}/schedules/{schedule['id']}", {"active": True})


def test_a_missing_variable_is_named(tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"], "PREFECT_API_URL": "http://127.0.0.1:9/api", "HOME": str(tmp_path)}
    done = subprocess.run([FOLDER / "deploy"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "HANCLIP_MODEL is not set" in done.stderr
