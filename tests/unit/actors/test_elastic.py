"""The number of actors follows the cluster and the bottleneck: fake pools, a fake cluster, a clock that tests turn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actors import crew
from actors.crew_size import CPU_ONLY, CrewSize, Resources, resize_crew, size_crew
from actors.elastic.balance import CrewBalance
from actors.elastic.elastic_crew import CrewRules, ElasticCrew
from actors.machine.cluster import resources_of
from actors.nodes.alive import Node
from actors.nodes.watch import ClusterState
from actors.run import _PlannedRun
from actors.scheduler.backlog import Backlog, Limits
from actors.scheduler.meter import Meter
from actors.scheduler.stages import STAGES, CallKind, Labour
from pipeline.config import ClusterConfig, ModelConfig
from pipeline.errors import ConfigError
from pipeline.model.checkpoints import resolve
from pipeline.records import Shard
from tests.fixtures import runs

GB = 2**30


def node(name: str, cpus: float, gpus: float = 0, free: float | None = None, **leaving: Any) -> Node:
    total = {"CPU": cpus, "GPU": gpus, "memory": 64.0 * GB, "object_store_memory": 8.0 * GB}
    return Node(name, total, {**total, "CPU": cpus if free is None else free}, **leaving)


def busy(**shares: float) -> dict[str, Labour]:
    return {stage.name: Labour(100 * shares.get(stage.name, 0.1), 100) for stage in STAGES}


NOTHING = {stage.name: Labour(0, 0) for stage in STAGES}


@pytest.mark.parametrize(
    ("shares", "seen_s", "changed"),
    [
        ({"decode": 0.95}, 19, None),
        ({"decode": 0.95}, 21, ("decode", 6)),
        ({"read": 0.95}, 21, ("decode", 6)),
        ({"decode": 0.7}, 61, None),
        ({"decode": 0.3, "embed": 0.95}, 21, None),
        ({"decode": 0.3, "embed": 0.95}, 61, ("decode", 2)),
        ({"decode": 0.3, "write": 0.95}, 61, ("decode", 2)),
        ({"decode": 0.6, "embed": 0.95}, 61, None),
    ],
)
def test_decoders_follow_the_bottleneck_and_only_after_a_while(
    shares: dict[str, float], seen_s: float, changed: tuple[CallKind, int] | None
) -> None:
    balance, actors = CrewBalance(), {"decode": 4, "embed": 2, "write": 1}
    room = {"decode": 16, "embed": 2, "write": 1}
    assert balance.change(0, NOTHING, actors, room.__getitem__) is None  # type: ignore[arg-type]
    change = balance.change(seen_s, busy(**shares), actors, room.__getitem__)  # type: ignore[arg-type]
    assert (change and (change.call, change.actors)) == changed
    if change:
        assert "was the bottleneck, busy 95 % of the time" in change.reason
        assert balance.change(seen_s + 1, busy(**shares), actors, room.__getitem__) is None  # type: ignore[arg-type]


def test_a_number_that_the_user_chose_stays() -> None:
    balance = CrewBalance({"decode"})
    actors: dict[CallKind, int] = {"decode": 4, "embed": 2, "write": 1}
    for at_s, shares in ((0, {}), (70, {"decode": 0.9}), (71, {}), (140, {"embed": 0.9})):
        assert balance.change(at_s, busy(**shares) if shares else NOTHING, actors, lambda _: actors["embed"]) is None


@dataclass
class FakePool:
    """A pool as the elastic crew sees it."""

    role: str
    size: int
    asks: dict[str, float] = field(default_factory=dict)
    unplaced: int = 0
    workers: tuple[Any, ...] = ()
    left: frozenset[str] = frozenset()

    @property
    def ready(self) -> int:
        return self.size

    def resize(self, size: int) -> None:
        self.size = size

    def leave_nodes(self, nodes: frozenset[str]) -> None:
        self.left = nodes


class Run:
    """A run of many chunks on a fake cluster."""

    def __init__(self, *nodes: Node, autoscaled: bool = False, **settings: Any) -> None:
        self.cluster, self.config = ClusterState(nodes, autoscaled), ClusterConfig(**settings)
        size = size_crew(resources_of(self.cluster), self.config, ModelConfig(), GB, 224)
        self.size = size
        self.decoders = FakePool("decoder", size.decoders, {"CPU": size.cpus_per_decoder})
        self.embedders = FakePool("embedder", size.embedders)
        self.writers = FakePool("writer", size.writers)
        self.pools: Any = {"decode": self.decoders, "embed": self.embedders, "write": self.writers}
        rows = 10**6
        self.meter = Meter("r", rows, 0, 1)
        self.backlog = Backlog(self._shards(rows), self._limits(size))
        fixed: set[CallKind] = {call for call in ("decode", "embed") if settings.get(f"{call}rs")}  # type: ignore[misc]
        rules = CrewRules(size, self._resized, self._limits, self.cluster, frozenset(fixed))
        self.crew = ElasticCrew(rules, self.pools, self.backlog, self.meter, lambda: self.cluster)
        self.now_s = 0.0

    def _shards(self, rows: int) -> Iterator[Shard]:
        yield Shard("a", rows, 0, "", 0)

    def _resized(self, resources: Resources) -> CrewSize:
        return resize_crew(self.size, resources, self.config, GB)

    def _limits(self, size: CrewSize) -> Limits:
        return Limits(8, 100, size.inflight_bytes, size.embedders * 3, size.writers * 2, 60.0)

    def on(self, *nodes: Node) -> tuple[int, int, int]:
        """Adjust to these nodes; decoders, embedders and writers then."""
        self.cluster, self.now_s = ClusterState(nodes, self.cluster.autoscaled), self.now_s + 2
        self.crew.adjust(self.now_s)
        return self.decoders.size, self.embedders.size, self.writers.size


def test_the_crew_follows_nodes_that_join_and_leave() -> None:
    one, two = node("a", 8, 1), node("b", 32, 1)
    run = Run(one)
    assert (run.on(one), run.meter.progress().crew_changes) == ((7, 1, 1), ())
    before = run.backlog.limits
    assert run.on(one, two) == (38, 2, 3)
    assert run.backlog.limits.inflight_bytes == pytest.approx(2 * before.inflight_bytes)
    assert run.backlog.limits.waiting_chunks == 6
    assert "38 decoders instead of 7: 2 nodes instead of 1" in run.meter.progress().crew_changes
    leaving = node("b", 32, 1, leaving=True)
    assert run.on(one, leaving)[:2] == (7, 1)
    assert run.decoders.left == run.embedders.left == {"b"}
    assert run.on(one)[:2] == (7, 1)
    assert run.decoders.left == frozenset()


def test_nodes_may_join_after_the_models_files_are_gone(tmp_path: Path) -> None:
    demo = resolve(ModelConfig(name="demo"))
    model = replace(demo, folder=str(shutil.copytree(demo.folder, tmp_path / "model")))
    size, nothing = Run(node("a", 8)).size, cast(Any, None)
    run_config, session = runs.config(tmp_path), SimpleNamespace(sized_for=None)
    run = _PlannedRun(run_config, model, size, nothing, nothing, nothing, nothing, 0.0)
    rules = run._rules(cast(Any, session))
    shutil.rmtree(model.folder)
    assert rules.resize(resources_of(ClusterState((node("a", 8), node("b", 8))))).embedders == 1


def test_an_embedder_on_cpus_asks_ray_for_its_memory() -> None:
    size = Run(node("a", 8)).size
    pool = crew.embedders(ModelConfig(), size, cast(Any, SimpleNamespace(place=lambda role: None)))
    assert pool.asks == {"CPU": size.cpus_per_embedder, "memory": size.bytes_per_embedder}


def test_a_crew_that_the_user_chose_keeps_its_size_whatever_joins_or_is_lost() -> None:
    one, two = node("a", 8, 1), node("b", 8, 1)
    run = Run(one, two, decoders=5, embedders=2)
    assert run.on(one, two, node("c", 8, 1)) == (5, 2, 1)
    assert run.on(one) == (5, 2, 1)


def test_no_actors_are_added_for_work_that_is_nearly_done() -> None:
    one, two = node("a", 8, 1), node("b", 8, 1)
    run = Run(one)
    run.meter.rows_done = 10**6 - 600
    assert run.on(one, two) == (7, 2, 1)


def test_more_decoders_only_where_cores_are_free_or_an_autoscaler_adds_them() -> None:
    full, free = node("a", 8, 1, free=0), node("a", 8, 1, free=2)
    for one, autoscaled, decoders in ((full, False, 3), (free, False, 4), (full, True, 4)):
        run = Run(one, autoscaled=autoscaled)
        run.decoders.size = 3
        run.meter.state("running")
        run.meter._first_work_s = run.meter._embedding_s = run.meter._levels_s = run.meter._began_s - 100
        run.meter._rates["embed"].add(1000)
        run.meter.labour = lambda: NOTHING  # type: ignore[method-assign]
        run.on(one)
        run.now_s += 30
        run.meter.labour = lambda: busy(decode=0.95)  # type: ignore[method-assign]
        assert run.on(one)[0] == decoders, (autoscaled, one.free)


def test_a_cluster_without_a_gpu_that_autoscales_needs_the_user_to_say_what_to_compute_on() -> None:
    with pytest.raises(ConfigError, match="--gpus-per-embedder 1 to wait for a node with a GPU"):
        Run(node("head", 0), autoscaled=True)
    declared = Run(Node("head", {"CPU": 2.0, CPU_ONLY: 1.0}, {"CPU": 2.0}), autoscaled=True)
    assert declared.size.gpus_per_embedder == 0
    waiting = Run(node("head", 0), autoscaled=True, gpus_per_embedder=1)
    assert (waiting.size.embedders, waiting.size.gpus_per_embedder, waiting.size.decoders) == (1, 1.0, 1)
    assert waiting.on(node("head", 0), node("gpu", 8, 4)) == (4, 4, 1)
    asked = Run(node("head", 0), autoscaled=True, gpus_per_embedder=0, decoders=6, embedders=6).size
    assert (asked.decoders, asked.cpus_per_decoder, asked.cpus_per_embedder) == (6, 0.5, 0.5)
