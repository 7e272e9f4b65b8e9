"""The bar of a long command: what it does, how far it is, how long it will take. On stderr, so stdout can be piped."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn


def bars(amount: ProgressColumn | None = None, transient: bool = True, silent: bool = False) -> Progress:
    """A display for bars.

    Args:
        amount: how far, in place of so many out of so many.
        transient: whether the bars go when all is done.
        silent: show nothing.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), amount or MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=transient, disable=silent)
