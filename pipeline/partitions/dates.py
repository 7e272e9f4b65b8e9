"""Expands a backfill's date range or `latest N` into dates. Light enough for `--help`."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal

Every = Literal["day", "week", "month"]


def dates(start: date, end: date, every: Every = "day") -> list[date]:
    """Dates from `start` to `end`, both included: each day, each seventh day, or the first of each month."""
    if every == "month":
        first, last = start.year * 12 + start.month - 1, end.year * 12 + end.month - 1
        return [date(month // 12, month % 12 + 1, 1) for month in range(first, last + 1)]
    step = 7 if every == "week" else 1
    return [start + timedelta(days=days) for days in range(0, (end - start).days + 1, step)]


def latest(count: int, end: date, every: Every = "day") -> list[date]:
    """The `count` newest dates up to `end`, oldest first."""
    if every == "month":
        last = end.year * 12 + end.month - 1
        return [date(month // 12, month % 12 + 1, 1) for month in range(last - count + 1, last + 1)]
    step = 7 if every == "week" else 1
    return [end - timedelta(days=days * step) for days in reversed(range(count))]
