"""Markdown for Prefect's pages: tables and shell blocks whose content is shown as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; bars and line ends in cells do not break it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def bash(*commands: str) -> str:
    """Shell lines to copy."""
    return "\n".join(["```bash", *commands, "```"])


def _cell(value: str) -> str:
    return value.replace("|", "\\|").replace("\n", " ")
