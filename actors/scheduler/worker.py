"""One actor as the driver sees it: its calls, its pace, and how much work it should have at hand.

A call that ends is noticed by the driver, which then hands over another one, whose input comes from another process.
Meanwhile the actor works on what it has, and should not run out of it. What it needs at hand is therefore a time, and
not a number of calls: a fast actor is given more rows than a slow one, and many small calls in the place of a few full
ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Weight of what was measured before, each time that a call ends.
_MEMORY = 0.9


@dataclass(slots=True)
class Pace:
    """Rows per second of one actor, measured over the time in which it had work."""

    _seconds: float = 0.0
    _rows: float = 0.0
    _ended_s: float | None = None

    def ended(self, now_s: float, rows: int, more: bool) -> None:
        """A call over `rows` has ended, and the actor has `more` calls: until the next one ends, it does not idle."""
        if self._ended_s is not None:
            self._seconds = self._seconds * _MEMORY + now_s - self._ended_s
            self._rows = self._rows * _MEMORY + rows
        self._ended_s = now_s if more else None

    def rows_in(self, seconds: float) -> float:
        """Rows that it works off in this time; 0 until that is known."""
        return seconds * self._rows / self._seconds if self._seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Depth:
    """How much an actor has at hand.

    Attributes:
        calls: never more than these; two or more, so that the next call already waits at the actor.
        rows: with fewer rows in its calls, it gets another call; None if only calls count.
        seconds: so much work at least, once the actor's pace is known, if it takes more rows than `rows`.
    """

    calls: int
    rows: int | None = None
    seconds: float = 0.0

    def takes(self, calls: int, rows: int, pace: Pace) -> bool:
        """Whether an actor with so many calls and rows in flight gets another call."""
        if calls >= self.calls:
            return False
        return self.rows is None or rows < max(self.rows, pace.rows_in(self.seconds))


@dataclass(eq=False, slots=True)
class Worker:
    """One actor.

    Attributes:
        setup: reference of its set-up call.
        placed: reference to the id of its node, ready when the actor runs there.
        node: that id, once it is known.
        calls, rows: number of calls in flight on it, and of the rows in them.
        pace: how fast it is.
        methods: its methods, kept because making one takes time in every call.
        ready: whether its set-up returned.
        exclusive: whether a suspect call runs on it.
        reserved: whether it goes to the pool's reserved place.
        leaving: whether it gets no more calls and ends with those that it has.
        facts: what its set-up returned: of an embedder, metadata for the footers.
    """

    handle: Any
    setup: Any
    placed: Any
    calls: int = 0
    ready: bool = False
    exclusive: bool = False
    reserved: bool = False
    leaving: bool = False
    dead: bool = False
    node: str = ""
    rows: int = 0
    pace: Pace = field(default_factory=Pace)
    methods: dict[str, Any] = field(default_factory=dict)
    facts: Any = None

    def method(self, name: str) -> Any:
        """A method whose calls return a large result and a report."""
        if name not in self.methods:
            self.methods[name] = getattr(self.handle, name).options(num_returns=2)
        return self.methods[name]
