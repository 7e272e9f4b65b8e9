"""A cluster that grows and shrinks during a run: new nodes are used, no row is lost with those that go."""

from __future__ import annotations

import io
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ray._private.node import Node
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from actors.machine.local.processes import fewer_processes, refusing_port, without_agents
from tests.fixtures.driving import Driver, Drivers, assert_adds_up, committed, rows_visible
from tests.fixtures.forks import ForkServer
from tests.fixtures.minimal.forking import WORKER
from tests.fixtures.servers.web import Site
from tests.fixtures.tables import as_parquet

pytestmark = pytest.mark.slow

#: The pictures of the two calls of a decoder are free: behind the gate they would take the connections of each other.
ROWS, FREE = 8 * 256, 3 * 256


@dataclass
class GatedSite(Site):
    """Answers for the first pictures at once, and for the others when the gate is open."""

    gate: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if int(request.path.removeprefix("/").removesuffix(".png")) >= FREE:
            self.gate.wait()
        super().answer(request)


@pytest.fixture
def site() -> Iterator[GatedSite]:
    """The pictures of the run, each of another colour."""
    site = GatedSite()
    for number in range(ROWS):
        encoded = io.BytesIO()
        Image.new("RGB", (16, 16), (number % 256, number // 256, 99)).save(encoded, "PNG")
        site.files[f"/{number}.png"] = encoded.getvalue()
    site.start()
    yield site
    site.gate.set()
    site.stop()


@pytest.fixture
def cluster(fork_server: ForkServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A head node, whose GPU is only a number; Ray detects within three seconds that another node is gone."""
    fork_server.inherit(monkeypatch)
    folder = tempfile.mkdtemp(prefix="hc-", dir="/tmp")
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    quick["enable_metrics_collection"] = False
    head = {"num_cpus": 2, "num_gpus": 1, "include_dashboard": False, "temp_dir": folder, "_system_config": quick}
    with fewer_processes(), refusing_port() as port, without_agents(port):
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        fork_server.wait(WORKER)
        yield cluster
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def announce_the_end(cluster: Cluster, node: Node, in_s: float) -> None:
    """What `ray drain-node` and a spot instance that is taken away do."""
    reason, at_ms = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"), int((time.time() + in_s) * 1000)
    accepted, _ = GcsClient(address=cluster.address).drain_node(node.node_id, reason, "taken away", at_ms)
    assert accepted


def newest(driver: Driver) -> dict[str, Any]:
    return driver.events[-1]


def decoders(driver: Driver) -> int:
    return next((stage["actors"] for stage in newest(driver).get("stages", ()) if stage["name"] == "decode"), 0)


def test_a_run_uses_nodes_that_join_and_loses_nothing_with_those_that_go(
    cluster: Cluster, site: GatedSite, tmp_path: Path
) -> None:
    rows = {"id": [f"{row:05d}" for row in range(ROWS)], "image": [site.url(f"/{row}.png") for row in range(ROWS)]}
    source, out = as_parquet(rows, tmp_path / "rows.parquet"), tmp_path / "out"
    options = ("--model", "demo", "--shard-rows", "256", "--allow-private-hosts", "--read-timeout-s", "600")
    command = ("embed", str(source), str(out), "--image-column", "image", *options, "--address", cluster.address)
    with Drivers(tmp_path) as drivers:
        driver = drivers.start(*command, "--decoders", "auto", "--embedders", "auto")
        driver.until(lambda: committed(out))
        first, second = (cluster.add_node(num_cpus=2, num_gpus=1) for _ in range(2))
        driver.until(lambda: decoders(driver) == 3)
        announce_the_end(cluster, first, 5.0)
        driver.until(lambda: decoders(driver) == 2)
        cluster.remove_node(first, allow_graceful=False)
        site.gate.set()
        shards = committed(out)
        driver.until(lambda: committed(out) > shards)
        assert newest(driver)["actors_replaced"] == 0, "an announced end is no failure"
        cluster.remove_node(second, allow_graceful=False)
        summary = driver.finish()
        assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (ROWS, {})
        changes = " | ".join(summary["crew_changes"])
        assert "3 decoders instead of" in changes
        assert "1 decoder instead of 2: 1 node instead of 2" in changes
        assert drivers.run(*command)["rows_planned"] == 0
        assert rows_visible(out) == ROWS
        assert_adds_up(drivers, str(out), ROWS)
