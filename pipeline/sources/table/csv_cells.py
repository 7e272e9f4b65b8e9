"""Splits lines of CSV and TSV files into cells, strictly: no stray quote or delimiter swallows rows or drops cells."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator

from pipeline.errors import ContainerError

_LONGEST_CELL = 2**27
_QUOTED = re.compile(r'"[^"]*"')
_CURE = 'Put texts that contain quotes, delimiters or line breaks in quotes and double the quotes inside ("")'


def delimiter_of(sample: str, own: str) -> str:
    """The format's `own` delimiter, or semicolon or tab if the header has that instead.

    Args:
        sample: the beginning of the file.
        own: comma or tab.
    """
    header = _QUOTED.sub("", next((line for line in sample.splitlines() if line.strip()), ""))
    return next((delimiter for delimiter in (own, ";", "\t") if delimiter in header), own)


def cells_of(lines: Iterable[str], delimiter: str, uri: str) -> Iterator[list[str]]:
    """The header, then each row that is not blank. A row may be shorter than the header, but not longer.

    Raises:
        ContainerError: a quote is not closed or is followed by text, or a cell has no column.
    """
    csv.field_size_limit(_LONGEST_CELL)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    width, row, line = 0, -1, 1
    try:
        for cells in rows:
            if cells:
                width = width or len(cells)
                _check(cells, width, delimiter, _place(uri, row, line))
                yield cells
                row += 1
            line = rows.line_num + 1
    except csv.Error as error:
        raise ContainerError(f"{_place(uri, row, line)} has an open or stray quote: {error}. {_CURE}.") from error


def _place(uri: str, row: int, line: int) -> str:
    return f"{f'Row {row}' if row >= 0 else 'The header'} of {uri} (line {line})"


def _check(cells: list[str], width: int, delimiter: str, place: str) -> None:
    if any(cells[width:]):
        raise ContainerError(f"{place} has {len(cells)} cells and the header {width}. {_CURE}.")
    # An open quote swallowed rows up to a later quote: no genuine text in a TSV has both tabs and line breaks.
    if delimiter == "\t" and any(delimiter in cell and ("\n" in cell or "\r" in cell) for cell in cells):
        raise ContainerError(f"{place} has a cell of several rows, so a quote is open. {_CURE}, or write JSON lines.")
