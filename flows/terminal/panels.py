"""Facts as pairs of a name and a value, drawn as a table or a panel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.terminal.plain import plain

if TYPE_CHECKING:
    pass


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values below each other, shown as they are, markup or not."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, value in pairs:
        rows.add_row(plain(name), value if isinstance(value, Text) else plain(value))
    return rows


def panel(title: str | Text, pairs: Iterable[tuple[str, object]]) -> Panel:
    """The same in a frame with a title."""
    return Panel(facts(pairs), title=title, title_align="left")
