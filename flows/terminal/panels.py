"""Facts as pairs of a name and a value, drawn as a table or a panel, which `whole.print_table` prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.terminal.marked import Code, Marked, Tone
from flows.terminal.plain import plain

STYLES: Mapping[Tone, str] = {"": "", "good": "green", "warning": "yellow", "error": "red"}


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values below each other; a value's characters are shown as they are, markup or not."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column()
    for name, value in pairs:
        rows.add_row(plain(name), _cell(value))
    return rows


def panel(title: str | Text, pairs: Iterable[tuple[str, object]]) -> Panel:
    """The same in a frame with a title."""
    return Panel(facts(pairs), title=title, title_align="left")


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if not isinstance(value, Marked):
        return plain(value)
    text = plain(value, STYLES[value.tone])
    if any(isinstance(part, Code) and " " in part for part in value.parts):
        text.no_wrap = True  # an address that is broken at its blanks is none
    return text
