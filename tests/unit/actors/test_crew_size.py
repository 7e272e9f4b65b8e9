"""Sizing the actor pools: all actors fit on the cluster at the same time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.crew_size import Resources, size_crew
from pipeline.config import ClusterConfig, ModelConfig
from pipeline.errors import ConfigError

GB = 2**30


def resources(cpus: float, gpus: float = 0, memory_bytes: float = 64 * GB) -> Resources:
    return Resources(cpus, gpus, memory_bytes, 8 * GB)


@given(
    cpus=st.integers(1, 256),
    gpus=st.integers(0, 16),
    decoders=st.none() | st.integers(1, 500),
    embedders=st.none() | st.integers(1, 64),
)
def test_all_actors_fit_at_once(cpus: int, gpus: int, decoders: int | None, embedders: int | None) -> None:
    settings = ClusterConfig(decoders=decoders, embedders=min(embedders, gpus or 64) if embedders else None)
    size = size_crew(resources(cpus, gpus), settings, ModelConfig(), GB, 224)
    assert size.decoders * size.cpus_per_decoder + size.embedders * size.cpus_per_embedder <= cpus + 1e-9
    assert size.embedders * size.gpus_per_embedder <= gpus
    assert size.cpus_per_decoder > 0
    assert min(size.decoders, size.embedders, size.writers, size.embedder_threads) >= 1


def test_each_gpu_gets_one_embedder_and_decoders_use_the_other_cores() -> None:
    size = size_crew(resources(16, 2), ClusterConfig(), ModelConfig(), GB, 224)
    assert (size.embedders, size.gpus_per_embedder, size.decoders) == (2, 1.0, 14)


def test_memory_limits_the_number_of_cpu_embedders() -> None:
    size = size_crew(resources(16, memory_bytes=30 * GB), ClusterConfig(), ModelConfig(), 4 * GB, 224)
    assert (size.embedders, size.embedder_threads, size.decoders) == (2, 8, 16)


def test_requesting_more_gpus_than_available_is_refused_with_the_cure() -> None:
    with pytest.raises(ConfigError, match="--gpus-per-embedder 0"):
        size_crew(resources(4), ClusterConfig(gpus_per_embedder=1), ModelConfig(), GB, 224)
    with pytest.raises(ConfigError, match="lower --embedders"):
        size_crew(resources(4, 1), ClusterConfig(embedders=2), ModelConfig(), GB, 224)


@pytest.mark.parametrize(
    ("gpus_by_node", "each", "embedders"),
    [((2.0,), 0.4, 4), ((1.0,), 1 / 3, 3), ((1.0,), 0.1, 10), ((3.0, 3.0), 2.0, 2), ((4.0, 0.0, 1.0), 1.0, 5)],
)
def test_an_embedder_spans_neither_gpus_nor_nodes(gpus_by_node: tuple[float, ...], each: float, embedders: int) -> None:
    there = Resources(16, sum(gpus_by_node), 64 * GB, 8 * GB, gpus_by_node)
    assert size_crew(there, ClusterConfig(gpus_per_embedder=each), ModelConfig(), GB, 224).embedders == embedders
    with pytest.raises(ConfigError, match="lower --embedders"):
        size_crew(there, ClusterConfig(gpus_per_embedder=each, embedders=embedders + 1), ModelConfig(), GB, 224)


@pytest.mark.parametrize("each", [1.5, 4.0])
def test_gpus_that_no_node_can_give_are_refused(each: float) -> None:
    there = Resources(16, 6, 64 * GB, 8 * GB, (3.0, 3.0))
    with pytest.raises(ConfigError, match="GPU"):
        size_crew(there, ClusterConfig(gpus_per_embedder=each), ModelConfig(), GB, 224)


@pytest.mark.parametrize(
    ("memory_mb", "decoders", "embedders"), [(700, 1, 1), (3000, 6, 1), (8000, 8, 4), (100_000, 8, 8)]
)
def test_actors_fit_into_the_memory(memory_mb: int, decoders: int, embedders: int) -> None:
    there = resources(8, memory_bytes=memory_mb * 2**20)
    size = size_crew(there, ClusterConfig(), ModelConfig(), 300 * 2**20, 224)
    assert (size.decoders, size.embedders) == (decoders, embedders)
    asked = size_crew(there, ClusterConfig(decoders=7, embedders=6), ModelConfig(), 300 * 2**20, 224)
    assert (asked.decoders, asked.embedders) == (7, 6)


@pytest.mark.parametrize(
    ("nodes", "chosen", "embedders", "asks"),
    [
        ([(8, 4)] * 4, None, 8, True),
        ([(8, 4), (0, 64)], None, 2, True),  # actors need a CPU
        ([(1, 4), (8, 64)], 3, 3, True),
        ([(8, 4)] * 2, 5, 5, False),  # the user's choice is kept
        ([(8, 1)] * 4, None, 1, False),  # one may fit all the same
    ],
)
def test_embedders_find_their_memory_on_one_node(
    nodes: list[tuple[int, int]], chosen: int | None, embedders: int, asks: bool
) -> None:
    cpus, memory = [float(cpus) for cpus, _ in nodes], [float(size * GB) for _, size in nodes]
    there = Resources(sum(cpus), 0, sum(memory), GB, cpus_by_node=tuple(cpus), memory_by_node=tuple(memory))
    size = size_crew(there, ClusterConfig(embedders=chosen), ModelConfig(), 300 * 2**20, 224)
    assert (size.embedders, size.bytes_per_embedder) == (embedders, asks * 1750 * 2**20)


def test_a_larger_batch_size_makes_larger_chunks() -> None:
    assert size_crew(resources(2), ClusterConfig(), ModelConfig(batch_size=500), GB, 224).chunk_rows == 500
    assert size_crew(resources(2), ClusterConfig(), ModelConfig(batch_size=8), GB, 224).chunk_rows == 64


def test_a_run_of_few_chunks_gets_no_actors_that_would_have_nothing_to_do() -> None:
    size = size_crew(resources(8), ClusterConfig(), ModelConfig(), GB, 224)
    one, many, none = (size.for_shards(rows) for rows in ([64], [65] * 500, []))
    assert (one.decoders, one.embedders, many, none.decoders) == (1, 1, size, 0)
    assert size.for_shards([65, 1]).decoders == 3
    assert one.embedder_threads == size.embedder_threads
