"""Escapes user-supplied text for the terminal: captions, ids, paths and messages.

In: any value. Out: `rich` text that is printed literally. Markup and emoji codes such as `:cat:` have no effect, and
control characters, which could move the cursor, set the window's title or reverse the line, are made visible.
"""

from __future__ import annotations

from rich.cells import cell_len, chop_cells
from rich.text import Text

from pipeline.visible import visible


def plain(value: object, style: str = "") -> Text:
    """`value` as text without any effect."""
    return Text(visible(str(value)), style=style)


def line(value: str, width: int) -> Text:
    """The beginning of a text, on one line of at most `width` columns; Chinese characters take two."""
    words = visible(" ".join(value.split())[: 4 * width])
    return Text(words if cell_len(words) <= width else f"{chop_cells(words, width - 1)[0]}…")
