"""Writes Markdown: plain text, tables and code.

In: texts that are no Markdown, such as help texts, in which `code` between backticks is the only markup. Out: Markdown
that shows them as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: A page that a text names by its path in the repository, as `docs/filter.md`: on the site it is a link.
NAMED_PAGE = re.compile(r"(?<!\[)`((?:[\w.-]+/)*[\w.-]+\.md)`(?!\])")
_SPECIAL = re.compile(r"([\\*_<>\[\]#|~^{}])")


def prose(text: str) -> str:
    """The text of a paragraph or a cell, in one line."""
    parts = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(code(part[1:-1]) if part.startswith("`") else _SPECIAL.sub(r"\\\1", part) for part in parts)


def paragraphs(text: str) -> str:
    """Paragraphs with blank lines between them."""
    return "\n\n".join(prose(part) for part in re.split(r"\n\s*\n", text.strip()))


def code(text: object) -> str:
    """A span of code, which a cell of a table may hold too."""
    shown = str(text)
    return f"<code>{_html(shown)}</code>" if "|" in shown else f"`{shown}`"


def block(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown without line breaks."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def page(title: str, *parts: str) -> str:
    """A page: its heading and its parts, without those that are empty."""
    return "\n\n".join([f"# {title}", *filter(None, parts)]) + "\n"


def _html(text: str) -> str:
    for sign, name in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;<wbr>")):
        text = text.replace(sign, name)
    return text
