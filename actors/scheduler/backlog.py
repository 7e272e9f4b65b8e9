"""The work of a run that is open and not yet committed: open shards, suspect chunks, decoded chunks, full shards.

The scheduler asks it for the next chunk. It makes no calls and does not import Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any

from actors.scheduler.chunks import Chunk, OpenShard
from actors.scheduler.stages import CallKind
from pipeline.records import Shard


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be in flight.

    Attributes:
        chunk_rows: records per chunk.
        bytes_per_row: bytes of a decoded record.
        inflight_bytes: decoded bytes between admission and the end of embedding.
        waiting_chunks: decoded chunks that wait for an embedder, as rows of full chunks; more would only use memory.
        waiting_shards: embedded shards that wait for a writer and hold their vectors meanwhile.
        call_timeout_s: a call that takes longer is killed with its actor.
        placement_timeout_s: how long actors may wait for a place on the cluster.
    """

    chunk_rows: int
    bytes_per_row: int
    inflight_bytes: int
    waiting_chunks: int
    waiting_shards: int
    call_timeout_s: float
    placement_timeout_s: float = 900.0


class Backlog:
    """The work of one run.

    Attributes:
        shards: open shards by id.
        suspects: chunks to decode again, each alone on its actor.
        decoded, decoded_suspects: chunks with the reference of their batch, waiting for an embedder.
        full: shards with all results, waiting for a writer.
        limits: what may be in flight; larger ones may replace them at any time.
    """

    def __init__(self, shards: Iterator[Shard], limits: Limits) -> None:
        self.shards: dict[str, OpenShard] = {}
        self.suspects: deque[Chunk] = deque()
        self.decoded: deque[tuple[Chunk, Any]] = deque()
        self.decoded_suspects: deque[tuple[Chunk, Any]] = deque()
        self.full: deque[OpenShard] = deque()
        self._planned = shards
        self._more = True
        self.limits = limits
        self._inflight_rows = 0

    @property
    def done(self) -> bool:
        """Whether every shard is committed."""
        return not self._more and not self.shards

    @property
    def fresh(self) -> bool:
        """Whether records are left that no decoder has been given yet."""
        return self._more or any(shard.rows_uncut for shard in self.shards.values())

    @property
    def inflight_bytes(self) -> int:
        """Bytes of records between admission and the end of embedding."""
        return self._inflight_rows * self.limits.bytes_per_row

    def waiting(self, call: CallKind) -> int:
        """Chunks, or for `write` shards, that wait for such a call; fresh chunks are not counted."""
        queues: dict[CallKind, Sized] = {"decode": self.suspects, "embed": self.decoded, "write": self.full}
        return len(queues[call]) + (len(self.decoded_suspects) if call == "embed" else 0)

    def admits(self) -> bool:
        """Whether one more chunk fits the limits; the first always fits the limit on bytes."""
        n_bytes = self.inflight_bytes + self.limits.chunk_rows * self.limits.bytes_per_row
        fits = n_bytes <= self.limits.inflight_bytes or self._inflight_rows == 0
        rows = sum(chunk.rows for chunk, _ in self.decoded)
        most_rows = self.limits.waiting_chunks * self.limits.chunk_rows
        waiting = rows > most_rows or len(self.full) > self.limits.waiting_shards
        return fits and not waiting

    def admit(self, chunk: Chunk) -> None:
        """Count a chunk that goes to a decoder."""
        self._inflight_rows += chunk.rows

    def next_chunk(self, decoder: Any) -> Chunk | None:
        """The next fresh chunk for `decoder`; None if there is none left.

        Taken from the decoder's own shard, because its reader is positioned there, or one whose decoder is dead; else
        from a new shard; else from the open shard with the most rows left.
        """
        uncut = [shard for shard in self.shards.values() if shard.rows_uncut]
        for shard in uncut:
            if shard.decoder is decoder or shard.decoder.dead:
                shard.decoder = decoder
                return shard.cut()
        opened = self._open_next(decoder)
        if opened is not None:
            return opened.cut()
        others = [shard for shard in uncut if not shard.shard.sequential]
        return max(others, key=lambda shard: shard.rows_uncut).cut() if others else None

    def _open_next(self, decoder: Any) -> OpenShard | None:
        shard = next(self._planned, None) if self._more else None
        if shard is None:
            self._more = False
            return None
        opened = self.shards[shard.shard_id] = OpenShard(shard, self.limits.chunk_rows, decoder=decoder)
        return opened

    def chunk_decoded(self, chunk: Chunk, batch: Any) -> None:
        """Queue a chunk for embedding, unless its shard was abandoned."""
        if self._shard_of(chunk) is None:
            self._release(chunk)
        else:
            (self.decoded_suspects if chunk.suspect else self.decoded).append((chunk, batch))

    def chunk_embedded(self, chunk: Chunk, part: Any) -> bool:
        """Record the result of a chunk; False if its shard was abandoned."""
        self._release(chunk)
        shard = self._shard_of(chunk)
        if shard is None:
            return False
        shard.settle(chunk, part)
        self._queue_if_complete(shard)
        return True

    def chunk_failed(self, chunk: Chunk, message: str, costs_attempt: bool) -> None:
        """Queue a chunk to be decoded again, or give up its record if the attempts are used up."""
        self._release(chunk)
        shard = self._shard_of(chunk)
        if shard is None:
            return
        again = chunk.after_failure() if costs_attempt else (chunk,)
        self.suspects.extend(again)
        if not again:
            shard.give_up(chunk, message)
            self._queue_if_complete(shard)

    def write_again(self, shard: OpenShard, anew: bool) -> None:
        """Queue a shard for another attempt; `anew` makes its parts again, which are gone."""
        if anew:
            shard.start_over()
        else:
            self.full.append(shard)

    def close(self, shard: OpenShard) -> None:
        """Forget a committed shard."""
        del self.shards[shard.shard.shard_id]

    def wind_down(self) -> None:
        """Open no more shards, and abandon the open ones that are less than half embedded."""
        self._more = False
        for shard_id, shard in list(self.shards.items()):
            if shard.rows_settled * 2 < shard.shard.rows:
                del self.shards[shard_id]
        for queue in (self.decoded, self.decoded_suspects):
            for pair in list(queue):
                if self._shard_of(pair[0]) is None:
                    self._release(pair[0])
                    queue.remove(pair)
        self.suspects = deque(chunk for chunk in self.suspects if self._shard_of(chunk) is not None)

    def _shard_of(self, chunk: Chunk) -> OpenShard | None:
        """The chunk's shard; None if it was abandoned."""
        return self.shards.get(chunk.shard.shard_id)

    def _release(self, chunk: Chunk) -> None:
        """Stop counting a chunk whose pixels are no longer needed."""
        self._inflight_rows -= chunk.rows

    def _queue_if_complete(self, shard: OpenShard) -> None:
        if shard.complete:
            self.full.append(shard)
