"""Lose a node of a cluster during a run, with its actors and their results: no row is lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from actors.machine.local_ray import fewer_processes
from tests.fixtures.driving import Drivers, assert_adds_up, committed, rows_visible
from tests.fixtures.pictures import write_tars

pytestmark = pytest.mark.slow

TARS, EACH = 10, 96
ROWS = TARS * EACH


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head node with one CPU; Ray detects within three seconds that another node is gone."""
    folder = tempfile.mkdtemp(prefix="hc-", dir="/tmp")
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    head = {"num_cpus": 1, "include_dashboard": False, "temp_dir": folder, "_system_config": quick}
    with fewer_processes():
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    yield cluster
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def test_no_row_is_lost_with_a_node(cluster: Cluster, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    source = write_tars(tmp_path / "tars", TARS, EACH)
    out = tmp_path / "out"
    crew = ("--decoders", "2", "--embedders", "2")
    command = ("embed", str(source), str(out), "--model", "demo", "--address", cluster.address, *crew)
    with Drivers(tmp_path) as drivers:
        driver = drivers.start(*command)
        driver.until(lambda: committed(out))
        cluster.remove_node(second, allow_graceful=False)
        summary = driver.finish()
        assert summary["actors_replaced"] >= 1
        assert (summary["stats"]["embedded"], summary["stats"]["quarantined"]) == (ROWS, {})
        assert drivers.run(*command)["rows_planned"] == 0
        assert rows_visible(out) == ROWS
        assert_adds_up(drivers, str(out), ROWS)
