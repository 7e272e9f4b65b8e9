"""Measures for how long something has not changed, by this process's own clock.

Timestamps of other machines are shown and sorted, and never subtracted from the time here: a clock that is hours off
would stop healthy jobs, or none.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Unchanged:
    """Observes one value. `clock` returns seconds that never go backwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._value: object = self  # equal to no observed value
        self._since_s = 0.0

    def seconds(self, value: object) -> float:
        """Seconds since `value` was first observed without another one in between; 0 for a new one."""
        now_s = self._clock()
        if value != self._value:
            self._value, self._since_s = value, now_s
        return now_s - self._since_s
