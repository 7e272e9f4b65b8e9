"""Values of facts, with the little markup that a terminal and a page each render in their way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

Tone = Literal["", "good", "warning", "error"]


class Code(str):
    """An address, a name or an expression: a page sets it in a fixed-width font."""

    __slots__ = ()


class Marked:
    """Plain text and `Code`, joined without spaces; `tone` is its colour on a terminal."""

    def __init__(self, *parts: str, tone: Tone = "") -> None:
        self.parts, self.tone = parts, tone

    def __str__(self) -> str:
        return "".join(self.parts)


#: Names and values, in the order in which they are shown.
Facts: TypeAlias = Iterator[tuple[str, str | Marked]]
