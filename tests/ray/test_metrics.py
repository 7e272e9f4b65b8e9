"""Test that a run's counters and gauges can be scraped as Prometheus would scrape them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from tests.fixtures.forks import ForkServer
from tests.fixtures.minimal.forking import WORKER
from tests.fixtures.monitoring import queried_metrics
from tests.fixtures.places import ROOT
from tests.fixtures.processes import until
from tests.fixtures.toy_metrics import BYTES, GAUGES, NAMES, STAGES


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, fork_server: ForkServer) -> Iterator[dict[str, Any]]:
    """What tests/fixtures/toy_metrics.py says of its runs, until the last test of this file ends."""
    folder = tmp_path_factory.mktemp("metrics")
    uris = [pictures(folder / "first", 20), pictures(folder / "second", 5)]
    (folder / "first" / "broken.jpg").write_text("no image")
    fork_server.wait(WORKER)
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "tests.fixtures.toy_metrics", *uris, str(folder / "out")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env={**os.environ, **fork_server.env},
        ) as process,
    ):
        assert process.stdout
        assert process.stdin
        said = next((line for line in process.stdout if line.startswith("{")), "")
        assert said, (folder / "log").read_text()
        yield json.loads(said)
        process.stdin.close()
        assert process.wait(60) == 0


def pictures(folder: Path, count: int) -> str:
    folder.mkdir()
    for shade in range(count):
        Image.new("RGB", (40, 30), (shade * 10, 80, 120)).save(folder / f"{shade}.png")
    return str(folder)


def exported_page(measured: dict[str, Any]) -> list[str]:
    """The page that Prometheus would scrape from this node."""
    with urllib.request.urlopen(measured["page"], timeout=5) as answer:
        return list(answer.read().decode().splitlines())


def scrape_until(measured: dict[str, Any], run_id: str, names: set[str]) -> list[str]:
    """The lines of the run as soon as all `names` are exported."""

    def scrape() -> list[str]:
        lines = [line for line in exported_page(measured) if run_id in line]
        exported = {line.partition("{")[0].removeprefix("ray_").removesuffix("_total") for line in lines}
        return lines if names <= exported else []

    found: list[str] = until(scrape, f"{names} of {run_id}", 60, every_s=0.5)
    return found


def value(lines: list[str], name: str, **tags: str) -> float:
    wanted = [f'{tag}="{text}"' for tag, text in tags.items()]
    (line,) = [line for line in lines if name in line and all(tag in line for tag in wanted)]
    return float(line.rsplit(" ", 1)[1])


def test_the_counters_of_each_run_of_a_process_are_exported(measured: dict[str, Any]) -> None:
    first, second = measured["runs"]
    names = {"stage_records", "stage_seconds", "bytes", "records_embedded", "records_quarantined", "shards_committed"}
    lines = scrape_until(measured, first, {f"hanclip_{name}" for name in names})
    assert value(lines, "hanclip_records_embedded") == 20
    assert value(lines, "hanclip_records_quarantined", reason="not_an_image") == 1
    assert value(lines, "hanclip_shards_committed") == 1
    assert value(lines, "hanclip_stage_records", stage="decode") == 21
    assert value(lines, "hanclip_bytes", stage="read") == measured["bytes_read"]
    assert value(lines, "hanclip_stage_seconds", stage="embed") > 0
    again = scrape_until(measured, second, {"hanclip_records_embedded"})
    assert value(again, "hanclip_records_embedded") == 5


def test_the_dashboard_and_the_alerts_query_existing_metrics(measured: dict[str, Any]) -> None:
    """Covers the metrics of a run, by their exported names, and Ray's own."""
    scrape_until(measured, NAMES, {"hanclip_actors_replaced"})
    exported = {line.partition("{")[0] for line in exported_page(measured) if line.startswith("ray_")}
    # Ray exports these only from nodes with GPUs.
    gpu_metrics = {f"ray_{name}" for name in METRICS_GAUGES if "gpu" in name or "gram" in name}
    assert queried_metrics() <= exported | gpu_metrics


def test_gauges_are_exported(measured: dict[str, Any]) -> None:
    names = {"hanclip_stage_queued", "hanclip_stage_actors", "hanclip_inflight_bytes"}
    lines = scrape_until(measured, GAUGES, names)
    assert value(lines, "hanclip_stage_queued", stage="embed") == STAGES["embed"]
    assert value(lines, "hanclip_inflight_bytes") == BYTES
