"""Rows that wait for a pass, and how passes are formed from them.

Requests of a kind are served in their order, and cut or joined so that passes are full. Where both kinds wait, passes
of images and of texts take turns, so that many texts do not hold back images.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from pipeline.model.engine.contract import KINDS, Features, InputRows, Kind, Pass


@dataclass(eq=False, slots=True)
class Request:
    """Rows of one caller, of which some may be computed.

    Attributes:
        missing: rows without features so far.
    """

    kind: Kind
    rows: InputRows
    features: Features
    future: Future[Features] = field(default_factory=Future)
    missing: int = field(init=False)

    def __post_init__(self) -> None:
        self.missing = len(self.rows)

    def wanted(self) -> bool:
        """Whether its caller still waits, who cannot withdraw from now on."""
        return self.future.running() or (not self.future.done() and self.future.set_running_or_notify_cancel())

    def fail(self, error: BaseException) -> None:
        """Give the error to the caller, who gets the first one."""
        if self.wanted():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows `start` to `stop` (exclusive) of a request."""

    request: Request
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def cut(self, rows: int) -> tuple[RowRange, RowRange]:
        """The first `rows`, and the others."""
        middle = self.start + rows
        return RowRange(self.request, self.start, middle), RowRange(self.request, middle, self.stop)

    def settle(self, features: Features) -> None:
        """Keep the features of these rows; the caller gets all of them with the last ones."""
        self.request.features[self.start : self.stop] = features
        self.request.missing -= len(self)
        if not self.request.missing and self.request.wanted():
            self.request.future.set_result(self.request.features)


@dataclass(frozen=True, slots=True)
class Formed:
    """A pass, as shares of requests."""

    kind: Kind
    shares: tuple[RowRange, ...]

    def work(self) -> Pass:
        """What a device takes."""
        return Pass(self.kind, tuple(share.request.rows[share.start : share.stop] for share in self.shares))

    def settle(self, features: Features) -> None:
        """Divide the features of the pass among the requests."""
        ends = np.cumsum([len(share) for share in self.shares])
        for share, end in zip(self.shares, ends, strict=True):
            share.settle(features[end - len(share) : end])

    def fail(self, error: BaseException) -> None:
        """Fail the requests that have rows in the pass."""
        for share in self.shares:
            share.request.fail(error)


class PassQueue:
    """The queues of both kinds. Not safe for threads."""

    def __init__(self) -> None:
        self._queues: dict[Kind, deque[RowRange]] = {kind: deque() for kind in KINDS}
        self._turns = deque(KINDS)

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def add(self, request: Request) -> None:
        """Queue all of its rows."""
        self._queues[request.kind].append(RowRange(request, 0, len(request.rows)))

    def put_back(self, formed: Formed) -> None:
        """Queue the rows of a pass again, before all others."""
        self._queues[formed.kind].extendleft(reversed(formed.shares))

    def form(self, capacity: Callable[[Kind], int], full_only: bool) -> Formed | None:
        """Take the rows of the next pass; None if too few wait.

        Args:
            capacity: most rows in a pass of a kind.
            full_only: whether it has to have that many rows.
        """
        for kind in tuple(self._turns):
            shares = self._taken(self._queues[kind], capacity(kind), full_only)
            if shares:
                self._turns.remove(kind)
                self._turns.append(kind)
                return Formed(kind, shares)
        return None

    @staticmethod
    def _taken(queue: deque[RowRange], most: int, full_only: bool) -> tuple[RowRange, ...]:
        if full_only and sum(map(len, queue)) < most:
            return ()
        shares: list[RowRange] = []
        room = most
        while queue and room:
            share = queue.popleft()
            if not share.request.wanted():
                continue
            if len(share) > room:
                share, rest = share.cut(room)
                queue.appendleft(rest)
            shares.append(share)
            room -= len(share)
        return tuple(shares)

    def fail(self, error: BaseException) -> None:
        """Fail all requests."""
        for queue in self._queues.values():
            while queue:
                queue.popleft().request.fail(error)
