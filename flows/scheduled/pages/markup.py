"""Markdown for Prefect's pages: tables and shell blocks."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from flows.terminal.marked import Code, Marked

_LINE_CHARACTERS = 76


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars and line ends in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def fact_table(facts: Iterable[tuple[str, str | Marked]]) -> str:
    """Facts as a table with the first of them for its head; code in a fixed-width font."""
    head, *rows = [(name, _inline(value)) for name, value in facts]
    return table(head, rows)


def bash(*commands: str) -> str:
    """Shell commands to copy; long ones are continued on further lines, so that nobody has to scroll."""
    return "\n".join(["```bash", *map(_folded, commands), "```"])


def link(text: str, url: str | None) -> str:
    """A link; the text alone without an address."""
    return f"[{text}]({url})" if url else text


def _folded(command: str) -> str:
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        new_line = len(lines[-1]) + len(word) > _LINE_CHARACTERS and word.startswith("--")
        lines = [*lines, word] if new_line else [*lines[:-1], f"{lines[-1]} {word}".strip()]
    return " \\\n    ".join(lines)


def _inline(value: str | Marked) -> str:
    if isinstance(value, str):
        return value
    return "".join(f"`{part}`" if isinstance(part, Code) else part for part in value.parts)


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
