"""Callbacks through which long work reports its progress: by rows, or by phases such as "Reading rows".

`OnRows` is called with the number of rows (or of whatever is counted) done since the last call. `OnPhase` is called
with what is being done, how much of it is done so far, and the total, None where that is not known. `OnWork` is called,
perhaps repeatedly, once a plan that is being made is sure to have records to embed.
"""

from __future__ import annotations

from collections.abc import Callable

OnRows = Callable[[int], None]
OnPhase = Callable[[str, int, int | None], None]
OnWork = Callable[[], object]


def ignore(doing: str, done: int, total: int | None) -> None:
    """An `OnPhase` that does nothing."""


def counted(on_phase: OnPhase, doing: str, total: int | None = None) -> OnRows:
    """An `OnRows` that reports the sum of its calls to `on_phase`."""
    done = 0

    def on_rows(rows: int) -> None:
        nonlocal done
        done += rows
        on_phase(doing, done, total)

    return on_rows
