"""Deploying again keeps what an operator changed on a real server, and brings what is new."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from prefect.schedules import Schedule

from flows.deployments.deployment import KeepingDeployment
from flows.scheduled.nightly import nightly
from tests.fixtures.servers.prefect import PrefectServer

NIGHTLY = Schedule(cron="30 4 * * *", timezone="Asia/Shanghai", active=False, slug="nightly")
PARAMETERS: dict[str, Any] = {
    "config": {"source": {"uris": ["s3://catalog/images/"]}, "output": {"uri": "s3://catalog/embeddings"}},
    "lookback_days": 7,
}


class Operator:
    """A deployment of `nightly` on the server, as an operator sees and changes it."""

    def __init__(self, server: PrefectServer) -> None:
        self._server, self._name = server, f"deploy-{uuid.uuid4().hex[:8]}"

    def deploy(
        self, *schedules: Schedule, reset: tuple[bool, bool] = (False, False), **settings: Any
    ) -> dict[str, Any]:
        """Deploy as a new process would; the deployment that the server has then."""
        settings = {"parameters": PARAMETERS, "tags": ["hanclip"], **settings}
        deployment = KeepingDeployment.of(nightly, self._name, schedules=list(schedules), **settings)
        deployment.reset(*reset)
        asyncio.run(deployment.aapply())
        return self.now()

    def now(self) -> dict[str, Any]:
        found: dict[str, Any] = self._server.call("GET", f"/deployments/name/nightly/{self._name}")
        return found

    def change(self, **fields: Any) -> None:
        self._server.call("PATCH", f"/deployments/{self.now()['id']}", fields)

    def change_schedule(self, slug: str | None = "nightly", **fields: Any) -> None:
        self._server.call("PATCH", self._path(slug), fields)

    def delete_schedule(self, slug: str) -> None:
        self._server.call("DELETE", self._path(slug))

    def add_schedule(self, cron: str) -> None:
        added = [{"schedule": {"cron": cron}, "active": True, "parameters": {"lookback_days": 30}}]
        self._server.call("POST", f"/deployments/{self.now()['id']}/schedules", added)

    def remove(self) -> None:
        self._server.call("DELETE", f"/deployments/{self.now()['id']}")
        self.forget()

    def forget(self) -> None:
        """Delete the record of the last deploy."""
        name = self._name.replace("-", "_")
        assert self._server.answer("DELETE", f"/variables/name/hanclip_deployed_nightly_{name}") == 200

    def _path(self, slug: str | None) -> str:
        held = self.now()
        (found,) = [one["id"] for one in held["schedules"] if one["slug"] == slug]
        return f"/deployments/{held['id']}/schedules/{found}"


@pytest.fixture
def operator(prefect_here: PrefectServer) -> Iterator[Operator]:
    operator = Operator(prefect_here)
    yield operator
    operator.remove()


def times(held: dict[str, Any]) -> dict[str | None, tuple[str, bool]]:
    return {one["slug"]: (one["schedule"]["cron"], one["active"]) for one in held["schedules"]}


def test_a_schedule_stays_resumed_or_paused(operator: Operator) -> None:
    assert times(operator.deploy(NIGHTLY)) == {"nightly": ("30 4 * * *", False)}
    operator.change_schedule(active=True)
    assert times(operator.deploy(NIGHTLY)) == {"nightly": ("30 4 * * *", True)}
    operator.change_schedule(active=False)
    assert times(operator.deploy(NIGHTLY)) == {"nightly": ("30 4 * * *", False)}
    assert times(operator.deploy(NIGHTLY, reset=(False, True))) == {"nightly": ("30 4 * * *", False)}


def test_a_schedule_that_was_moved_added_or_deleted_stays_so(operator: Operator) -> None:
    weekly = Schedule(cron="0 6 * * 0", slug="weekly")
    operator.deploy(NIGHTLY, weekly)
    operator.change_schedule(active=True, schedule={"cron": "0 5 * * *", "timezone": "Europe/Berlin"})
    operator.delete_schedule("weekly")
    operator.add_schedule("0 1 1 * *")
    monthly = Schedule(cron="0 7 1 * *", slug="monthly")
    held = operator.deploy(NIGHTLY, weekly, monthly)
    assert times(held) == {
        "nightly": ("0 5 * * *", True), None: ("0 1 1 * *", True), "monthly": ("0 7 1 * *", True)
    }  # fmt: skip
    assert [one["parameters"] for one in held["schedules"] if one["slug"] is None] == [{"lookback_days": 30}]
    held = operator.deploy(NIGHTLY, weekly, reset=(False, True))
    assert times(held) == {"nightly": ("30 4 * * *", False), "weekly": ("0 6 * * 0", True)}


def test_what_nobody_changed_takes_new_defaults(operator: Operator) -> None:
    operator.deploy(NIGHTLY, description="old")
    operator.change_schedule(active=True)
    config = PARAMETERS["config"] | {"output": {"uri": "s3://catalog/mine"}}
    operator.change(parameters=PARAMETERS | {"config": config})
    later = Schedule(cron="15 3 * * *", timezone="Asia/Shanghai", active=False, slug="nightly")
    new = {"config": PARAMETERS["config"] | {"source": {"uris": ["s3://new/"]}}, "lookback_days": 9, "timezone": "UTC"}
    held = operator.deploy(later, parameters=new, description="new")
    assert times(held) == {"nightly": ("15 3 * * *", True)}, "the file's new time, the operator's activity"
    assert held["description"] == "new"
    assert held["parameters"]["config"] == {
        "source": {"uris": ["s3://new/"]}, "output": {"uri": "s3://catalog/mine"}
    }  # fmt: skip
    assert (held["parameters"]["lookback_days"], held["parameters"]["timezone"]) == (9, "UTC")
    assert operator.deploy(later, parameters=new, reset=(True, False))["parameters"] == new


def test_limits_tags_and_a_paused_deployment_stay(operator: Operator) -> None:
    operator.deploy(NIGHTLY, concurrency_limit=1)
    operator.change(concurrency_limit=3, tags=["hanclip", "mine"], paused=True)
    held = operator.deploy(NIGHTLY, concurrency_limit=1)
    assert (held["global_concurrency_limit"]["limit"], held["tags"], held["paused"]) == (3, ["hanclip", "mine"], True)


def test_a_deploy_without_news_leaves_the_runs_that_are_due(
    operator: Operator, capsys: pytest.CaptureFixture[str]
) -> None:
    hourly = Schedule(interval=timedelta(hours=1), slug="hourly")
    before = operator.deploy(hourly)
    capsys.readouterr()
    after = operator.deploy(hourly)
    assert capsys.readouterr().out == f"nightly/{before['name']}: unchanged\n"
    assert after["updated"] == before["updated"], "an update would delete the scheduled runs"
    assert after["schedules"] == before["schedules"]


def test_another_commit_alone_changes_nothing(
    operator: Operator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, sha in enumerate(("a" * 40, "b" * 40)):
        for name, value in (("SHA", sha), ("REF_NAME", "main"), ("REPOSITORY", "someone/hanclip")):
            monkeypatch.setenv(f"GITHUB_{name}", value)
        held = operator.deploy(NIGHTLY)
        assert held["version"] == nightly.version
        assert capsys.readouterr().out == f"nightly/{held['name']}: {('created', 'unchanged')[number]}\n"


def test_new_code_leaves_schedules_as_they_are(operator: Operator, capsys: pytest.CaptureFixture[str]) -> None:
    weekly, monthly = Schedule(cron="0 6 * * 0", slug="weekly"), Schedule(cron="0 7 1 * *", slug="monthly")
    operator.deploy(NIGHTLY, weekly, version="1")
    operator.change_schedule(active=True)
    operator.delete_schedule("weekly")
    operator.add_schedule("0 1 1 * *")
    before = operator.now()["schedules"]
    held = operator.deploy(NIGHTLY, weekly, version="2")
    assert (held["version"], held["schedules"]) == ("2", before)
    assert f"{held['name']}: updated\n" in capsys.readouterr().out
    held = operator.deploy(NIGHTLY, weekly, monthly, version="3")
    assert times(held) == {
        "nightly": ("30 4 * * *", True), None: ("0 1 1 * *", True), "monthly": ("0 7 1 * *", True)
    }  # fmt: skip


def test_a_deployment_of_an_older_version_keeps_everything(operator: Operator) -> None:
    operator.deploy(NIGHTLY)
    operator.forget()
    operator.change_schedule(active=True)
    held = operator.deploy(Schedule(cron="15 3 * * *", slug="nightly"), parameters={"lookback_days": 9})
    assert times(held) == {"nightly": ("30 4 * * *", True)}
    assert held["parameters"] == PARAMETERS


def test_parameters_that_prefect_drops_when_a_schedule_is_paused_come_back(operator: Operator) -> None:
    weekly = Schedule(cron="0 6 * * 0", slug="weekly", parameters={"lookback_days": 30})
    operator.deploy(weekly)
    operator.change_schedule("weekly", active=False)
    (schedule,) = operator.deploy(weekly)["schedules"]
    assert (schedule["active"], schedule["parameters"]) == (False, {"lookback_days": 30})


def test_the_server_stores_no_password(operator: Operator, prefect_server: PrefectServer) -> None:
    held = operator.deploy(NIGHTLY)
    leaking = PARAMETERS["config"] | {"source": {"uris": ["s3://catalog/", "https://me:secret@shop.example/images/"]}}
    path = f"/deployments/{held['id']}/create_flow_run"
    assert prefect_server.answer("POST", path, {"parameters": {"config": leaking}}) == 409
    mine = {"deployments": {"id": {"any_": [held["id"]]}}}
    assert prefect_server.call("POST", "/flow_runs/filter", mine) == []
