"""Log lines about a run, for Ray's dashboard and Prefect, where there is no live display.

One line when planning begins, one with the plan, one every ten seconds, and one at the end, whose counts add up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from pipeline import units
from pipeline.jobs.progress import Progress, Summary

logger = logging.getLogger(__name__)

_EVERY_S = 10.0


class RunLog:
    """Logs one run over the URIs `source`; each line begins with `name`."""

    def __init__(self, name: str, source: Sequence[str]) -> None:
        self._name = name
        self._source = ", ".join(source)
        self._logged_s: float | None = None

    def update(self, progress: Progress) -> None:
        """Log the begin of planning, the plan once it is made, and later the progress if a line is due."""
        if progress.state == "planning":
            logger.info("%s: planning", self._name)
            return
        now = time.monotonic()
        if self._logged_s is None:
            logger.info("%s: %s", self._name, _plan(progress, self._source))
        elif now - self._logged_s < _EVERY_S:
            return
        else:
            logger.info("%s: %s", self._name, _progress(progress))
        self._logged_s = now

    def end(self, state: str, message: str, summary: Summary | None) -> None:
        """Log how the run ended, with the counts of its summary if it has one."""
        level = logging.ERROR if state == "failed" else logging.INFO
        ended = f" in {_duration(summary.seconds)}: {_balance(summary)}" if summary else ""
        logger.log(level, "%s: %s%s%s", self._name, state, ended, f". {message}" if message else "")


def _balance(summary: Summary) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.stats.quarantined.most_common())
    return summary.balance + (f" ({reasons})" if reasons else "")


def _plan(progress: Progress, source: str) -> str:
    done = f", {progress.rows_already_done:,} already done" if progress.rows_already_done else ""
    shards = units.count(progress.shards_planned, "shard")
    return f"{progress.rows_planned:,} records to do in {shards}{done}, source {source}"


def _progress(progress: Progress) -> str:
    done, planned = progress.stats.records, progress.rows_planned
    parts = [f"{progress.state}, {done:,} of {planned:,} records"]
    if done:
        parts.append(f"{progress.records_per_s:,.1f} records/s")
    elif progress.waiting_for:
        parts.append(f"waiting for {progress.waiting_for}")
    if progress.eta_s is not None:
        parts.append(f"{_duration(progress.eta_s)} left")
    if progress.stats.quarantined:
        parts.append(f"{progress.stats.quarantined.total():,} quarantined")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
