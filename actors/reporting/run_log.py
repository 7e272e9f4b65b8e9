"""Log lines about a run for a person who reads them later, in Ray's dashboard or in Prefect, where no display can be.

A line when planning begins, one when it is done, one every ten seconds, one at the end. The last one adds up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import timedelta

from pipeline.jobs.progress import Progress, Summary

logger = logging.getLogger(__name__)

_EVERY_S = 10.0


class RunLog:
    """Tells about one run over the addresses `source`. `name` begins each line."""

    def __init__(self, name: str, source: Sequence[str]) -> None:
        self._name = name
        self._source = ", ".join(source)
        self._told_s: float | None = None

    def update(self, progress: Progress) -> None:
        """Tell that planning begins, the plan once it is made, later the progress if it is time to."""
        if progress.state == "planning":
            logger.info("%s: planning", self._name)
            return
        now = time.monotonic()
        if self._told_s is None:
            logger.info("%s: %s", self._name, _plan(progress, self._source))
        elif now - self._told_s < _EVERY_S:
            return
        else:
            logger.info("%s: %s", self._name, _progress(progress))
        self._told_s = now

    def end(self, state: str, message: str, summary: Summary | None) -> None:
        """Tell how the run ended; the rows of its summary, if it came to one, add up."""
        level = logging.ERROR if state == "failed" else logging.INFO
        ended = f" in {_duration(summary.seconds)}: {_balance(summary)}" if summary else ""
        logger.log(level, "%s: %s%s%s", self._name, state, ended, f". {message}" if message else "")


def _balance(summary: Summary) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.stats.quarantined.most_common())
    return summary.balance + (f" ({reasons})" if reasons else "")


def _plan(progress: Progress, source: str) -> str:
    done = f", {progress.rows_already_done:,} already done" if progress.rows_already_done else ""
    shards = f"{progress.shards_planned:,} shard{'s' * (progress.shards_planned != 1)}"
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
