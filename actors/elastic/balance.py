"""Decides how many decoders and embedders a run needs, from what its stages did lately.

In: what the actors of each stage have done since the start. Out: another number of actors, with the reason. It makes no
calls.

An actor costs seconds of CPU to start, so a change needs evidence: a window of time after the last change in which one
stage was busy nearly all the time. It takes longer to end decoders than to start them, and enough stay that the rest
would not be called busy, so that the number does not swing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import ceil

from actors.reporting.bottleneck import busiest
from actors.scheduler.stages import DECODE, READ, CallKind, Labour

_GROW_AFTER_S = 20.0
_SHRINK_AFTER_S = 60.0
#: A stage that is busier sets the pace.
_BUSY = 0.8
#: Decoders that are less busy are too many.
_IDLE = 0.5
#: How busy those that stay would be.
_AIM = 0.65


@dataclass(frozen=True, slots=True)
class CrewChange:
    """Another number of actors for a kind of call."""

    call: CallKind
    actors: int
    reason: str


class CrewBalance:
    """Follows the bottleneck of one run.

    Args:
        fixed: kinds of calls whose number of actors the user chose.
    """

    def __init__(self, fixed: Collection[CallKind] = ()) -> None:
        self._fixed = fixed
        self._since_s: float | None = None
        self._before: Mapping[str, Labour] = {}

    def restart(self) -> None:
        """Forget what was seen: the crew has changed."""
        self._since_s = None

    def change(
        self,
        now_s: float,
        labour: Mapping[str, Labour],
        actors: Mapping[CallKind, int],
        most: Callable[[CallKind], int],
    ) -> CrewChange | None:
        """The change to make now, if any.

        Args:
            now_s: a monotonic time.
            labour: of each stage since the start of the run, by name.
            actors: their number now.
            most: as many as could work now, at least those that there are.
        """
        if self._since_s is None:
            self._since_s, self._before = now_s, labour
            return None
        seen_s = now_s - self._since_s
        if seen_s < _GROW_AFTER_S:
            return None
        change = self._by_pace(labour, actors, most, seen_s)
        if change or seen_s >= _SHRINK_AFTER_S:
            self.restart()
        return change

    def _by_pace(
        self,
        labour: Mapping[str, Labour],
        actors: Mapping[CallKind, int],
        most: Callable[[CallKind], int],
        seen_s: float,
    ) -> CrewChange | None:
        busy = {name: done.since(self._before[name]).busy for name, done in labour.items()}
        pace, decoders = busiest(busy), actors["decode"]
        if busy[pace.name] < _BUSY:
            return None
        reason = f"{pace.name} was the bottleneck, busy {busy[pace.name]:.0%}".replace("%", " % of the time")
        if pace.call != "write" and pace.call not in self._fixed:
            now = actors[pace.call]
            wanted = min(most(pace.call), now + max(1, now // 2))
            if wanted > now:
                return CrewChange(pace.call, wanted, reason)
        ours = max(busy[READ.name], busy[DECODE.name])
        enough = max(1, ceil(decoders * ours / _AIM))
        idle = pace.call != "decode" and ours < _IDLE and enough < decoders
        if idle and seen_s >= _SHRINK_AFTER_S and "decode" not in self._fixed:
            return CrewChange("decode", enough, reason)
        return None
