"""The backlog: how decoded, embedded and failed chunks change the state of their shard."""

from __future__ import annotations

from types import SimpleNamespace

from actors.scheduler.backlog import Backlog, Limits
from actors.scheduler.chunks import Chunk
from pipeline.records import Shard

DECODER = SimpleNamespace(dead=False)


def a_backlog(**rows: int) -> Backlog:
    shards = (Shard(name, count, 0, "", 0) for name, count in rows.items())
    return Backlog(shards, Limits(8, 100, 10**6, 4, 2, 60.0))


def admit_next(backlog: Backlog) -> Chunk:
    chunk = backlog.next_chunk(DECODER)
    assert chunk is not None
    backlog.admit(chunk)
    return chunk


def test_a_poison_record_is_isolated_and_its_shard_completes() -> None:
    backlog = a_backlog(a=20)
    fresh = [admit_next(backlog) for _ in range(3)]
    assert (backlog.inflight_bytes, backlog.next_chunk(DECODER)) == (2000, None)
    for chunk in fresh:
        backlog.chunk_decoded(chunk, "pixels")
    assert backlog.waiting("embed") == 3
    while backlog.decoded or backlog.suspects:
        if backlog.decoded:
            chunk, _ = backlog.decoded.popleft()
        else:
            chunk = backlog.suspects.popleft()
            backlog.admit(chunk)
        if chunk.start <= 3 < chunk.stop:
            backlog.chunk_failed(chunk, "it died", costs_attempt=True)
        else:
            assert backlog.chunk_embedded(chunk, "vectors")
    (shard,) = backlog.full
    assert [(one.row, one.attempts, one.detail) for one in shard.crashed] == [(3, 3, "it died")]
    assert (sorted(shard.parts), backlog.waiting("write"), backlog.inflight_bytes) == ([0, 2, 4, 8, 16], 1, 0)
    backlog.close(shard)
    assert backlog.done


def test_an_outage_does_not_count_as_an_attempt() -> None:
    backlog = a_backlog(a=8)
    chunk = admit_next(backlog)
    backlog.chunk_failed(chunk, "the store is down", costs_attempt=False)
    assert (list(backlog.suspects), backlog.waiting("decode"), backlog.inflight_bytes) == ([chunk], 1, 0)


def test_chunks_of_an_abandoned_shard_are_dropped() -> None:
    backlog = a_backlog(a=24)
    decoded, embedded, failed = (admit_next(backlog) for _ in range(3))
    backlog.wind_down()
    backlog.chunk_decoded(decoded, "pixels")
    assert not backlog.chunk_embedded(embedded, "vectors")
    backlog.chunk_failed(failed, "it died", costs_attempt=True)
    assert (backlog.waiting("embed"), backlog.waiting("decode"), backlog.inflight_bytes) == (0, 0, 0)
    assert backlog.done
