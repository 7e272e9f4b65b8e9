"""Numbers as people read them: durations, rates, shares and counts, each with its unit."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.stats import Stats


def duration(seconds: float) -> str:
    """`3.21` -> `3.2 s`, `75` -> `1 min 15 s`, `7300` -> `2 h 01 min`, `200000` -> `2 d 07 h`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24:02d} h"


def rate(per_s: float) -> str:
    """Records per second: one decimal below a hundred."""
    return f"{per_s:,.0f}" if per_s >= 99.95 else f"{per_s:.1f}"


def share(part: float) -> str:
    """`0.974` -> `97 %`."""
    return f"{part:.0%}".replace("%", " %")


def phase(doing: str, done: int, total: int | None) -> str:
    """`Comparing vectors, 3 of 12`, or `Reading rows, 1,200` where the total is not known."""
    return f"{doing}, {done:,} of {total:,}" if total else f"{doing}, {done:,}" if done else doing


def by_reason(counts: Mapping[str, int]) -> str:
    """`truncated 12, empty_text 3`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in ordered)


def examples(by_reason: Mapping[str, str]) -> str:
    """`empty_text shop/7, truncated shop/3`: one record for each reason."""
    return ", ".join(f"{reason} {record_id}" for reason, record_id in sorted(by_reason.items()))


def long_texts(stats: Stats) -> str:
    """`3.1 % (60 of 1,928) have more tokens than the model takes`."""
    return f"{_texts(stats.texts_too_long, stats)} have more tokens than the model takes"


def unknown_texts(stats: Stats) -> str:
    """`0.2 % (4 of 1,928) have no character that the model's vocabulary has`."""
    return f"{_texts(stats.texts_unknown, stats)} have no character that the model's vocabulary has"


def _texts(part: int, stats: Stats) -> str:
    return f"{part / max(stats.texts, 1):.1%} ({part:,} of {stats.texts:,})".replace("%", " %")
