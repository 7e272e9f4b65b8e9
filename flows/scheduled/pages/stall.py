"""Notices a running job that finishes nothing, and sends an event about it, which an automation turns into an alert.

In: the job's progress, every few seconds while its driver lives. Out: for how long nothing was finished, and one event
per standstill at most. Planning and steps are left out: they may be silent for long without being stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from prefect.events import emit_event
from prefect.runtime import flow_run

from flows.terminal import figures
from pipeline.jobs.job import JobProgress

EVENT = "hanclip.flow-run.stalled"
STALLED_S = 1800.0


class StallWatch:
    """Watches one job."""

    def __init__(self, on_stall: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`on_stall` gets the reason, once per standstill."""
        self._on_stall, self._clock = on_stall, clock
        self._last: object = None
        self._since_s = clock()
        self._reported = False

    def see(self, progress: JobProgress) -> str:
        """Why the job counts as stalled; empty if it does not."""
        run = progress.progress
        watched = progress.step is None and run is not None and run.state in ("starting", "running")
        key = (progress.run, run.stats.records) if watched and run is not None else None
        if key is None or key != self._last:
            self._last, self._since_s, self._reported = key, self._clock(), False
        silent_s = self._clock() - self._since_s
        if silent_s < STALLED_S or run is None:
            return ""
        waiting = f", waiting for {run.waiting_for}" if run.waiting_for else ""
        reason = f"no record was finished for {figures.duration(silent_s)}{waiting}"
        if not self._reported:
            self._reported = True
            self._on_stall(reason)
        return reason


def send_stalled(reason: str) -> None:
    """Send the event about the current flow run; its label is where other alerts have the state's message."""
    emit_event(
        EVENT,
        resource={
            "prefect.resource.id": f"prefect.flow-run.{flow_run.id}",
            "prefect.resource.name": str(flow_run.name),
            "prefect.state-message": reason,
        },
    )
