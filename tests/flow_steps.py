"""Steps of flow runs on a site: what they are asked, how they are caught in the middle, and what they leave."""

from __future__ import annotations

import io
import os
import signal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from flow_site import FlowSite
from prefect_server import until
from s3_server import client

from pipeline import storage

STEPS: dict[str, Any] = {
    "dedup": {"rungs": ["bytes"], "keep": "first"},
    "filter": {"where": "keep and id < '030'"},
}
#: Copies of a dataset, and the step that is killed over each.
KILLED = {"here": "dedup", "there": "filter", "again": "dedup"}
_TABLES = ("dedup/dedup.parquet", "filter/default/kept.parquet", "filter/default/dropped.parquet")


def tables(out: str) -> list[pa.Table]:
    """What the steps wrote, read past the proxies."""
    return [pq.read_table(io.BytesIO(storage.read_bytes(f"{out}/{name}"))).sort_by("id") for name in _TABLES]


def copy(site: FlowSite, out: str, name: str, without: str) -> str:
    """A copy of a dataset beside it, without the objects that have `without` in their names."""
    bucket, _, folder = out.removeprefix("s3://").partition("/")
    store = client(site.s3.endpoint)
    for entry in store.list_objects_v2(Bucket=bucket, Prefix=f"{folder}/")["Contents"]:
        if without not in entry["Key"]:
            content = store.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            store.put_object(Bucket=bucket, Key=entry["Key"].replace(folder, name, 1), Body=content)
    return f"s3://{bucket}/{name}"


def begin_step(site: FlowSite, flow: str, out: str, target: dict[str, Any]) -> str:
    """A flow run whose step has begun to read, slowly."""
    site.proxy.slow, site.proxy.delay_s = "/embeddings/", 2.0
    read = f"{out.removeprefix('s3:/')}/embeddings/"
    flow_run_id = site.start(flow, out=out, settings=STEPS[flow], target=target)
    until(lambda: any(read in line for line in site.proxy.requests), f"a step; {site.runner.log()}")
    return flow_run_id


def kill_flow(site: FlowSite, flow_run_id: str) -> None:
    """Kill the process of the only flow run that is going on."""
    (pid,) = site.runner.children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: site.state(flow_run_id) == "Crashed", "Prefect to notice")
