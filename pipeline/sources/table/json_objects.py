"""Splits a stream of JSON into the texts of its objects: an array of objects, or objects one after another.

In: pieces of text. Out: the text of one object at a time, so memory holds the largest object and one piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from pipeline.errors import ContainerError

_BETWEEN = re.compile(r"[\s,]*")


def objects_of(pieces: Iterator[str], uri: str) -> Iterator[str]:
    """The texts of the objects.

    Raises:
        ContainerError: it is not JSON, or ends within an object or the array.
    """
    decode = json.JSONDecoder().raw_decode
    text, at, row = next(pieces, ""), 0, 0
    while not text.strip() and (more := next(pieces, "")):
        text += more
    opening = re.match(r"\s*\[", text)
    at = opening.end() if opening else 0
    while True:
        at = _end_of(_BETWEEN, text, at)
        if opening and text.startswith("]", at):
            return
        try:
            _, end = decode(text, at)
        except (ValueError, RecursionError) as error:
            more = _more(pieces, len(text) - at)
            if not more:
                if at == len(text) and not opening:
                    return
                raise ContainerError(
                    f"{uri} is no JSON after row {row}, or ends early: {error}. Write one array of objects, or one "
                    "object per line."
                ) from error
            text, at = text[at:] + more, 0
        else:
            yield text[at:end]
            at, row = end, row + 1


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _more(pieces: Iterator[str], characters: int) -> str:
    """At least as many further characters, so that a long object is not parsed again for each piece."""
    parts: list[str] = []
    while sum(map(len, parts)) < max(1, characters) and (piece := next(pieces, "")):
        parts.append(piece)
    return "".join(parts)
