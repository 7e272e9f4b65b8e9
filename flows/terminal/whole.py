"""Prints tables so that hashes, ids, paths and commands stay whole on any terminal: broken, they could not be copied.

In: a table, or a panel of tables. Out: lines that are as long as what is in them. A terminal that is narrower wraps
them itself, and copies them whole. Columns with `no_wrap` (ids, paths) and those of numbers are broken nowhere, those
that fold (captions) anywhere, all others at blanks. A cell's own text decides for itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.panel import Panel
from rich.segment import Segment, Segments
from rich.table import Column, Table
from rich.text import Text

#: Where nothing is wrapped.
_WIDE = 100_000
#: Of a column that folds.
_NARROWEST = 12
#: A frame's lines, and a blank beside each.
_FRAME = 4


def print_table(what: RenderableType, console: Console | None = None) -> None:
    """Print it; without the frame of a panel where that would be wider than the terminal."""
    console = console or Console(highlight=False)
    room = console.width - (_FRAME if isinstance(what, Panel) else 0)
    width = max((_fitted(console, table, room) for table in _tables(what)), default=0)
    if isinstance(what, Panel) and what.title is not None:
        width = max(width, Measurement.get(console, console.options.update(max_width=_WIDE), what.title).maximum + 2)
    if width <= room:
        console.print(what)
        return
    if isinstance(what, Panel):
        if what.title is not None:
            console.print(what.title, style="bold", soft_wrap=True)
        what = what.renderable
    for line in console.render_lines(what, console.options.update(width=max(width, console.width)), pad=False):
        console.print(Segments([*_stripped(line), Segment.line()]), crop=False, end="")


def _tables(what: RenderableType) -> Iterator[Table]:
    if isinstance(what, Table):
        yield what
    elif isinstance(what, Panel):
        yield from _tables(what.renderable)
    elif isinstance(what, Group):
        for part in what.renderables:
            yield from _tables(part)


def _fitted(console: Console, table: Table, room: int) -> int:
    """Set the widths of the columns so that the table fits, if that breaks nothing; returns the table's width."""
    natural = [_most(console, column) for column in table.columns]
    least = [_least(console, column) for column in table.columns]
    whole = Measurement.get(console, console.options.update(max_width=_WIDE), table).maximum
    between = whole - sum(natural)
    if whole <= room:
        return whole
    widths, widest = natural, min(max(natural), room)
    while sum(widths) + between > room and widths != least:
        widest -= 1
        widths = [max(low, min(high, widest)) for low, high in zip(least, natural, strict=True)]
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    return sum(widths) + between


def _most(console: Console, column: Column) -> int:
    return max(_measured(console, cell).maximum for cell in _cells(column))


def _least(console: Console, column: Column) -> int:
    return max(_narrowest(console, column, cell) for cell in _cells(column))


def _narrowest(console: Console, column: Column, cell: RenderableType) -> int:
    """The width at which nothing of a cell is broken that has to stay whole."""
    own = cell if isinstance(cell, Text) else Text()
    measured = _measured(console, cell)
    if (own.overflow or column.overflow) == "fold":
        return min(measured.maximum, _NARROWEST)
    is_whole = column.no_wrap or column.justify == "right" if own.no_wrap is None else own.no_wrap
    return measured.maximum if is_whole else measured.minimum


def _cells(column: Column) -> Iterator[RenderableType]:
    yield column.header
    yield from column.cells


def _measured(console: Console, cell: RenderableType) -> Measurement:
    return Measurement.get(console, console.options.update(max_width=_WIDE), cell)


def _stripped(line: list[Segment]) -> list[Segment]:
    """The line without the blanks at its end, which a terminal that is too narrow would show as a line of their own."""
    kept = list(line)
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        kept[-1] = Segment(kept[-1].text.rstrip(), kept[-1].style)
    return kept
