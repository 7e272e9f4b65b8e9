"""Progress reports early in a run: the state, and no rate or ETA that a few chunks cannot support."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from actors.reporting.files import Reporter
from actors.scheduler.meter import Meter
from pipeline.jobs.progress import State
from pipeline.stats import Stats


@dataclass
class StubPool:
    """A pool as the meter sees it."""

    ready: int = 0
    workers: list[Any] = field(default_factory=list)


def test_a_run_is_starting_until_the_embedders_are_ready() -> None:
    meter, embedders = Meter("r", 1000, 0, 1), StubPool()
    pools: Any = {"decode": StubPool(1), "embed": embedders, "write": StubPool(1)}
    meter.levels({}, 0, pools)
    meter.chunk_done("decode", 100, Stats(decode_s=0.1))
    progress = meter.progress()
    assert (progress.state, progress.waiting_for) == ("starting", "the embedders to load the model")
    embedders.ready = 1
    meter.levels({}, 0, pools)
    progress = meter.progress()
    assert (progress.state, progress.waiting_for) == ("running", "")


def test_what_computes_the_vectors_is_reported_once_for_embedders_that_do_it_alike() -> None:
    gpu = {"device": "NVIDIA H200", "compute_dtype": "bfloat16", "towers": "hanclip 1.0 (attention cudnn)"}
    workers = [SimpleNamespace(facts=facts) for facts in (gpu, None, gpu, {**gpu, "device": "NVIDIA A10"})]
    meter, embedders = Meter("r", 1000, 0, 1), StubPool(3, workers)
    meter.levels({}, 0, {"decode": StubPool(1), "embed": embedders, "write": StubPool(1)})  # type: ignore[dict-item]
    assert meter.progress().computing == tuple(
        f"{name}, bfloat16, hanclip 1.0 (attention cudnn)" for name in ("NVIDIA H200", "NVIDIA A10")
    )


def test_the_first_chunk_gives_a_damped_rate_and_no_eta() -> None:
    meter = Meter("r", 1000, 0, 1)
    meter.state("running")
    meter.chunk_done("embed", 100, Stats(embed_s=0.2))
    progress = meter.progress()
    assert 0 < progress.records_per_s <= 50
    assert progress.eta_s is None
    meter._embedding_s = meter._began_s - 11
    assert meter.progress().eta_s is not None


def test_each_report_has_its_own_timestamp() -> None:
    meter = Meter("r", 1000, 0, 1)
    time.sleep(1.1)
    began = datetime.now(UTC).replace(microsecond=0)
    meter.state("running")
    assert datetime.fromisoformat(meter.progress().at) >= began


def test_a_new_state_is_reported_at_once_and_only_once(tmp_path: Path) -> None:
    meter, seen = Meter("r", 1000, 0, 1), list[str]()
    reporter = Reporter(str(tmp_path), meter, lambda progress: seen.append(progress.state))
    states: tuple[State, ...] = ("starting", "running", "stopping")
    for state in states:
        meter.state(state)
        for _ in range(3):
            reporter.report_if_due()
    assert seen == ["starting", "running", "stopping"]
