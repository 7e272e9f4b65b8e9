"""Formats numbers, durations and times for the pages, in both languages where they differ."""

from __future__ import annotations

import re

from pipeline.report.wording import Phrase, say

_MOMENT = re.compile(r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d) (?P<time>\d\d:\d\d)")


def brief(text: str | None, length: int) -> str:
    """The beginning of a long text: a page's size must not depend on the length of captions."""
    text = text or ""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def middle(text: str, length: int) -> str:
    """A long text without its middle: ids and addresses differ at their ends."""
    if len(text) <= length:
        return text
    tail = 2 * length // 3
    return f"{text[: length - 1 - tail]}…{text[-tail:]}"


def count(number: int) -> str:
    """`1928` -> `1,928`."""
    return f"{number:,}"


def decimal(number: float, digits: int = 3) -> str:
    """`0.12345` -> `0.123`, with a true minus sign."""
    return f"{number:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def percent(part: float) -> Phrase:
    """`0.874` -> `87 %`, for numbers of which only the order matters."""
    return say("units.share", number=f"{100 * part:.0f}")


def share(part: float) -> Phrase:
    """`0.0874` -> `8.7 %`; a small share does not become zero."""
    if 0 < part < 0.0005:
        return say("units.least_share")
    return say("units.share", number=f"{100 * part:.1f}" if part else "0")


def duration(seconds: float) -> Phrase:
    """`75` -> `1 min 15 s`."""
    if seconds < 59.5:
        return say("units.seconds", seconds=f"{seconds:.1f}" if seconds < 9.95 else f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("units.minutes", minutes=minutes, seconds=f"{rest:02d}")
    return say("units.hours", hours=minutes // 60, minutes=f"{minutes % 60:02d}")


def moment(text: str) -> Phrase | str:
    """`2026-11-22 01:14` as a date and a time; any other text is returned unchanged."""
    found = _MOMENT.fullmatch(text)
    return say("units.moment", **found.groupdict()) if found else text
