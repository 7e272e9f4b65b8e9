"""Lines of a CSV or TSV file to cells, strictly: a stray quote or mark must not swallow rows or drop cells."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from pipeline.errors import SourceError

_LONGEST_CELL = 2**27
_QUOTED = re.compile(r'"[^"]*"')
_CURE = 'Put texts that hold quotes, marks or line breaks in quotes and double the quotes inside ("")'


def mark_of(sample: str, own: str) -> str:
    """What parts the cells: the format's `own` mark, or the one that the header has in its place, semicolons or tabs.

    Args:
        sample: the file's beginning.
        own: comma or tab.
    """
    header = _QUOTED.sub("", next((line for line in sample.splitlines() if line.strip()), ""))
    return next((mark for mark in (own, ";", "\t") if mark in header), own)


def cells_of(lines: Iterable[str], mark: str, uri: str) -> Iterator[list[str]]:
    """The header, then each row that is not blank; a row may be shorter than the header, but not longer.

    Raises:
        SourceError: at a quote that is not closed or has text behind it, or a cell without a column.
    """
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(lines, delimiter=mark, strict=True)
    width, row, line = 0, -1, 1
    try:
        for cells in rows:
            if cells:
                width = width or len(cells)
                _check(cells, width, mark, _place(uri, row, line))
                yield cells
                row += 1
            line = rows.line_num + 1
    except csv.Error as error:
        raise SourceError(f"{_place(uri, row, line)} has an open or stray quote: {error}. {_CURE}.") from error


def _place(uri: str, row: int, line: int) -> str:
    return f"{f'Row {row}' if row >= 0 else 'The header'} of {uri} (line {line})"


def _check(cells: list[str], width: int, mark: str, place: str) -> None:
    if any(cells[width:]):
        raise SourceError(f"{place} has {len(cells)} cells and the header {width}. {_CURE}.")
    # Rows swallowed by a quote that a later row happens to close; no text of a TSV holds both tabs and line breaks.
    if mark == "\t" and any(mark in cell and ("\n" in cell or "\r" in cell) for cell in cells):
        raise SourceError(f"{place} has a cell of several rows, so a quote is open. {_CURE}, or write JSON lines.")
