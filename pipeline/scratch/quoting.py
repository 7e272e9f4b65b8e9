"""Writes texts and names into SQL, so that nothing in them is read as SQL."""

from __future__ import annotations


def quoted(text: str) -> str:
    """`text` as a string literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def quoted_name(name: str) -> str:
    """The name of a column or a table as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
