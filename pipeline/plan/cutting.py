"""Cuts an ordered stream of records such that new records change only nearby cuts, and chooses the size of shards.

In: batches of record ids and containers, in plan order. Out: for each record, whether it starts a shard.

Files and table rows are cut by content: a record starts a shard when the hash of its id selects it and the shard before
it is long enough. A boundary depends on nearby ids only, so an inserted record changes its own shard and at most a few
that follow, until both cuts meet at a common boundary (cutting by count would change every later shard). A tar is one
shard; above the limit it is split evenly.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.dataset.identity import Identity

MIN_ROWS = 256
MAX_ROWS = 8192

_TARGETS = (512, 1024, 2048, 4096)
_SHARDS_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a shard's rows around a target.

    Attributes:
        min_rows: no cut by content below this; at least 256.
        max_rows: always cut here; at most 8,192.
        one_in: one id in this many may start a shard, so that the mean is about min_rows + one_in.
    """

    min_rows: int
    max_rows: int
    one_in: int

    @classmethod
    def around(cls, target_rows: int) -> Bounds:
        """Half of the target is the minimum, the other half is the expected distance to the next hit."""
        return cls(max(MIN_ROWS, target_rows // 2), min(MAX_ROWS, 4 * target_rows), target_rows // 2)


def target_rows(rows: int, workers: int) -> int:
    """The largest of 512, 1,024, 2,048 and 4,096 rows per shard that gives each worker four shards; else 512."""
    fair = rows // (max(workers, 1) * _SHARDS_PER_WORKER)
    return max((target for target in _TARGETS if target <= fair), default=_TARGETS[0])


def plan_rows(identity: Identity, chosen: int | None, rows: int, workers: int) -> int:
    """Target rows per shard of one plan: what the user chooses now or chose for the dataset, else what fits the work.

    A dataset that began small gets larger shards once there is more to do, and never smaller ones.

    Args:
        identity: of the dataset.
        chosen: `--shard-rows` of this run.
        rows: records to do.
        workers: actors that share them.
    """
    # Datasets of earlier versions do not say who chose; only a user chose another number than these.
    if chosen or identity.shard_rows_chosen or identity.shard_rows not in _TARGETS:
        return chosen or identity.shard_rows
    return max(identity.shard_rows, target_rows(rows, workers))


class Cutter:
    """Decides where shards start. One object sees one stream, in batches of any size.

    Args:
        bounds: limits of a shard.
        tar_rows: number of records of each tar in the stream, to split long ones evenly.
        sequential: whether a tar can only be read from its beginning.
    """

    def __init__(
        self, bounds: Bounds, tar_rows: Mapping[str, int], sequential: Callable[[str], bool] = lambda tar: False
    ) -> None:
        self._bounds = bounds
        self._tar_rows, self._sequential = tar_rows, sequential
        self._container: str | None = None
        self._in_tar = False
        self._rows = 0
        self._pieces: Iterator[bool] = iter(())

    def starts(self, ids: Sequence[str], containers: Sequence[str | None]) -> list[bool]:
        """True for each record that starts a shard. The first record of the stream does."""
        return [self._starts(id_, container) for id_, container in zip(ids, containers, strict=True)]

    def _starts(self, id_: str, container: str | None) -> bool:
        if container != self._container:
            was_tar, self._in_tar, self._container = self._in_tar, container in self._tar_rows, container
            if container is not None and self._in_tar:
                self._pieces = even_starts(self._tar_rows[container], self._tar_limit(container))
            elif was_tar:
                self._rows = 0
        if self._in_tar:
            return next(self._pieces)
        starts = self._rows == 0 or self._rows >= self._bounds.max_rows or self._hit(id_)
        self._rows = 1 if starts else self._rows + 1
        return starts

    def _hit(self, id_: str) -> bool:
        if self._rows < self._bounds.min_rows:
            return False
        digest = hashlib.blake2b(id_.encode(), digest_size=8).digest()
        return int.from_bytes(digest) % self._bounds.one_in == 0

    def _tar_limit(self, tar: str) -> int:
        """To read a part of a compressed tar, all before it must be read, so such tars get the largest shards."""
        return MAX_ROWS if self._sequential(tar) else self._bounds.max_rows


def even_starts(rows: int, limit: int) -> Iterator[bool]:
    """Whether each row starts a piece, for the fewest equal pieces of at most `limit` rows.

    Example: even_starts(5, 2) -> True False True False True
    """
    pieces = -(-rows // limit)
    starts = {-(-rows * piece // pieces) for piece in range(pieces)}
    return (row in starts for row in range(rows))
