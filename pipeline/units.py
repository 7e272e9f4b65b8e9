"""Formats byte counts and numbers of things for people."""

from __future__ import annotations

_STEPS = ("B", "kB", "MB", "GB", "TB")


def size(n_bytes: float) -> str:
    """`1536000` -> `1.5 MB` (decimal units)."""
    for unit in _STEPS:
        if n_bytes < 999.5 or unit == _STEPS[-1]:
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 99.5 else f"{n_bytes:.1f} {unit}"


def count(number: int, thing: str) -> str:
    """`1` -> `1 shard`, `1200` -> `1,200 shards`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
