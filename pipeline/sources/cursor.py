"""Reads items of a forward-only container by position, when positions arrive nearly in order.

Two threads read the chunks of a shard and may overtake each other. The cursor therefore keeps the items that it passed
last, and only a position further back makes it start again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

KEEP_BYTES = 64 * 2**20


class CursorItem(NamedTuple, Generic[T]):
    """One item, its position in the container and its size in memory."""

    position: int
    value: T
    size_bytes: int


class Cursor(Generic[T]):
    """CursorItems of one container by position.

    Args:
        open_at: yields items from `start_of(position)` on, in order; closing the iterator closes the container.
        start_of: the nearest position at or before the given one where reading can start.
        keep_bytes: total size of the passed items to keep.
    """

    def __init__(
        self,
        open_at: Callable[[int], Iterator[CursorItem[T]]],
        start_of: Callable[[int], int] = lambda position: 0,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        self._open_at, self.start_of, self._keep_bytes = open_at, start_of, keep_bytes
        self._lock = Lock()
        self._items: Iterator[CursorItem[T]] | None = None
        self._next = 0
        self._kept: OrderedDict[int, CursorItem[T]] = OrderedDict()
        self._kept_bytes = 0

    def take(self, positions: Iterable[int]) -> dict[int, T]:
        """The items at `positions`; positions without an item are left out. Thread-safe."""
        with self._lock:
            taken = {}
            for position in sorted(positions):
                item = self._kept.get(position) or self._seek(position)
                if item is not None:
                    taken[position] = item.value
            return taken

    def close(self) -> None:
        """Close the container and drop all kept items."""
        with self._lock:
            self._stop()
            self._kept.clear()
            self._kept_bytes = 0

    def _seek(self, position: int) -> CursorItem[T] | None:
        if self._items is None or position < self._next or self.start_of(position) > self._next:
            self._stop()
            self._items = self._open_at(position)
        try:
            for item in self._items:
                self._keep(item)
                if item.position >= position:
                    return item if item.position == position else None
        except BaseException:
            self._stop()
            raise
        self._stop()
        return None

    def _keep(self, item: CursorItem[T]) -> None:
        self._next = item.position + 1
        if before := self._kept.pop(item.position, None):  # after a new start
            self._kept_bytes -= before.size_bytes
        self._kept[item.position] = item
        self._kept_bytes += item.size_bytes
        while self._kept_bytes > self._keep_bytes and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].size_bytes

    def _stop(self) -> None:
        close = getattr(self._items, "close", None)
        self._items, self._next = None, 0
        if close:
            close()


class Cursors(Generic[T]):
    """The cursors of one reader by container, at most `most`: the least recently used is closed first."""

    def __init__(self, make: Callable[[str], Cursor[T]], most: int = 4) -> None:
        self._make, self._most = make, most
        self._lock = Lock()
        self._cursors: OrderedDict[str, Cursor[T]] = OrderedDict()

    def of(self, container: str) -> Cursor[T]:
        """The container's cursor, created on first use."""
        with self._lock:
            cursor = self._cursors.pop(container, None) or self._make(container)
            self._cursors[container] = cursor
            idle = [self._cursors.popitem(last=False)[1] for _ in range(len(self._cursors) - self._most)]
        for old in idle:
            old.close()
        return cursor

    def close(self) -> None:
        """Close all cursors."""
        with self._lock:
            cursors = list(self._cursors.values())
            self._cursors.clear()
        for cursor in cursors:
            cursor.close()
