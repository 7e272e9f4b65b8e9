"""Three nights, made by Prefect's scheduler, run by Ray, stored in S3: each reads what is new and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flow_site import FlowSite, open_site
from pictures import jpegs
from prefect_server import until

pytestmark = pytest.mark.slow

ROWS = 100


@pytest.fixture(scope="module")
def site(prefect_server, s3_server, tmp_path_factory) -> Iterator[FlowSite]:
    with open_site(prefect_server, s3_server, tmp_path_factory.mktemp("site")) as site:
        yield site


def night(site: FlowSite) -> dict[str, Any]:
    """Give the deployment a schedule that is soon due, and wait for the end of the run that the scheduler makes."""
    deployment = f"/deployments/{site.deployments['nightly']}"
    soon = datetime.now(UTC) + timedelta(seconds=4)
    schedule = {"interval": 86400.0, "anchor_date": soon.isoformat(), "timezone": "UTC"}
    (made,) = site.prefect.call("POST", f"{deployment}/schedules", [{"active": True, "schedule": schedule}])

    def begun() -> str:
        runs = site.prefect.flow_runs(expected_start_time={"after_": (soon - timedelta(seconds=2)).isoformat()})
        return next((run["id"] for run in runs if run["state"]["type"] != "SCHEDULED" and run["auto_scheduled"]), "")

    flow_run_id = until(begun, f"a scheduled run; {site.runner.log()}")
    site.prefect.call("DELETE", f"{deployment}/schedules/{made['id']}")
    return site.ended(flow_run_id)


def embedders(site: FlowSite) -> int:
    """How many embedders the cluster has ever had."""
    answer = site.head.request("GET", "/api/v0/actors?limit=10000&detail=1")
    return sum("Embedder" in actor["class_name"] for actor in answer["data"]["result"]["result"])


def test_three_nights_read_only_what_is_new_or_changed(site):
    bucket, pictures = site.bucket(), list(jpegs(ROWS + 10))
    names = [f"{number:03d}.jpg" for number in range(ROWS)]
    site.put(bucket, dict(zip(names, pictures, strict=False)))
    parameters = {"config": site.config(bucket, whole_catalog=True), "target": site.target}
    site.prefect.call("PATCH", f"/deployments/{site.deployments['nightly']}", {"parameters": parameters})

    first = night(site)
    assert (first["state"]["name"], first["state"]["message"]) == (
        "Completed",
        f"rows in {ROWS} = {ROWS} embedded + 0 quarantined",
    )
    assert site.proxy.pictures_read() == names

    changed, gone, new = names[10:12], names[50:51], [f"new-{number}.jpg" for number in range(5)]
    site.put(bucket, dict(zip(new + changed, pictures[ROWS:], strict=False)))
    site.remove(bucket, gone)
    site.proxy.requests.clear()
    second = night(site)
    assert second["state"]["message"] == "rows in 104 = 7 embedded + 0 quarantined + 97 already done"
    assert site.proxy.pictures_read() == sorted(new + changed)

    site.proxy.requests.clear()
    before = embedders(site)
    third = night(site)
    assert third["state"]["message"] == "rows in 104 = 0 embedded + 0 quarantined + 104 already done"
    assert site.proxy.pictures_read() == []
    assert embedders(site) == before >= 2

    shown = site.prefect.artifacts(second["id"])
    assert set(shown) >= {"nightly-plan", "nightly-job", "nightly-report"}
    assert second["name"].startswith("nightly 20")
    report = shown["nightly-report"]["data"]
    assert "| vanished | 1 ids" in report
    assert site.jobs(second["id"])[0]["submission_id"] in report
    assert site.alive() == []
