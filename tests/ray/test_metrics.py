"""Test that a run's counters and gauges can be scraped as Prometheus would scrape them."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from PIL import Image
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from actors.run import Run
from actors.scheduler.metrics import Metrics
from actors.session import Session
from pipeline.config import parse
from tests.fixtures.monitoring import queried_metrics
from tests.fixtures.processes import until

pytestmark = pytest.mark.usefixtures("local_ray")

ONE_OF_EACH = {"decoders": 1, "embedders": 1}


def exported_page() -> list[str]:
    """The page that Prometheus would scrape from this node."""
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return list(answer.read().decode().splitlines())


def scrape_until(run_id: str, names: set[str], between: Callable[[], None] = lambda: None) -> list[str]:
    """The lines of the run as soon as all `names` are exported."""

    def scrape() -> list[str]:
        between()
        lines = [line for line in exported_page() if run_id in line]
        exported = {line.partition("{")[0].removeprefix("ray_").removesuffix("_total") for line in lines}
        return lines if names <= exported else []

    found: list[str] = until(scrape, f"{names} of {run_id}", 60, every_s=0.5)
    return found


def value(lines: list[str], name: str, **tags: str) -> float:
    wanted = [f'{tag}="{text}"' for tag, text in tags.items()]
    (line,) = [line for line in lines if name in line and all(tag in line for tag in wanted)]
    return float(line.rsplit(" ", 1)[1])


def pictures(folder: Path, count: int) -> str:
    folder.mkdir()
    for shade in range(count):
        Image.new("RGB", (40, 30), (shade * 10, 80, 120)).save(folder / f"{shade}.png")
    return str(folder)


def test_the_counters_of_each_run_of_a_process_are_exported(tmp_path: Path) -> None:
    uris = [pictures(tmp_path / "first", 20), pictures(tmp_path / "second", 5)]
    (tmp_path / "first" / "broken.jpg").write_text("no image")
    others = {"output": {"uri": str(tmp_path / "out")}, "model": {"name": "demo"}, "cluster": ONE_OF_EACH}
    configs = [parse({"source": {"uris": [uri], "id_prefix": f"{uri}/"}, **others}) for uri in uris]
    with Session(configs[0].cluster) as session:
        summary, second = [Run(config).embed(session) for config in configs]
    names = {"stage_records", "stage_seconds", "bytes", "records_embedded", "records_quarantined", "shards_committed"}
    lines = scrape_until(summary.run_id, {f"hanclip_{name}" for name in names})
    assert value(lines, "hanclip_records_embedded") == 20
    assert value(lines, "hanclip_records_quarantined", reason="not_an_image") == 1
    assert value(lines, "hanclip_shards_committed") == 1
    assert value(lines, "hanclip_stage_records", stage="decode") == 21
    assert value(lines, "hanclip_bytes", stage="read") == summary.stats.bytes_read
    assert value(lines, "hanclip_stage_seconds", stage="embed") > 0
    assert value(scrape_until(second.run_id, {"hanclip_records_embedded"}), "hanclip_records_embedded") == 5


def test_the_dashboard_and_the_alerts_query_existing_metrics() -> None:
    """Covers the metrics of a run, by their exported names, and Ray's own."""
    Metrics("names-run").replaced()  # A healthy run, like the one above, replaces no actor.
    scrape_until("names-run", {"hanclip_actors_replaced"})
    exported = {line.partition("{")[0] for line in exported_page() if line.startswith("ray_")}
    # Ray exports these only from nodes with GPUs.
    gpu_metrics = {f"ray_{name}" for name in METRICS_GAUGES if "gpu" in name or "gram" in name}
    assert queried_metrics() <= exported | gpu_metrics


def test_gauges_are_exported() -> None:
    metrics = Metrics("gauges-run")
    stages = {"decode": 3, "embed": 2, "write": 1}
    names = {"hanclip_stage_queued", "hanclip_stage_actors", "hanclip_inflight_bytes"}
    lines = scrape_until("gauges-run", names, between=lambda: metrics.levels(stages, 4096, stages))
    assert value(lines, "hanclip_stage_queued", stage="embed") == 2
    assert value(lines, "hanclip_inflight_bytes") == 4096
