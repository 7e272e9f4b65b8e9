"""Numbers and times as text, the same in every language."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from pipeline.report.columns.parts import plain
from pipeline.report.columns.profile import ValueKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def number_text(value: float) -> str:
    """`1234567.0` -> `1,234,567`; six digits of a fraction, and a true minus sign."""
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif 1e-4 <= abs(value) < 1e15:
        digits = max(0, 5 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.6g}"
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else text


def time_text(seconds: float, kind: pa.DataType) -> str:
    """Seconds since 1970 as a date, or as a date and a time, in UTC if the type has a zone."""
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{number_text(seconds / 86400 / 365.2425 + 1970)} CE"
    if pa.types.is_date(plain(kind)):
        return moment.strftime("%Y-%m-%d").zfill(10)
    zone = " UTC" if pa.types.is_timestamp(plain(kind)) and plain(kind).tz else ""
    return f"{moment.replace(tzinfo=None).isoformat(sep=' ', timespec='seconds')}{zone}"


def clock_text(seconds: float) -> str:
    """Seconds since midnight as a time of day."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}"


def value_text(value: float, kind: ValueKind, type_: pa.DataType) -> str:
    """A measured value as text."""
    if kind == ValueKind.TIME:
        return time_text(value, type_)
    return clock_text(value) if kind == ValueKind.CLOCK else number_text(value)
