"""JSON as hanclip stores it: one object as indented text, and rows as lines, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.errors import StorageError
from pipeline.storage.reading import read_bytes
from pipeline.storage.uris import printable
from pipeline.storage.writing import staged_file


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """`tree` as indented UTF-8 text that ends with a newline."""
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def read_tree(uri: str, cure: str) -> dict[str, Any]:
    """The JSON object at `uri`; `cure` says what to do if it is damaged.

    Raises:
        NotFoundError: there is none.
        StorageError: it cannot be read, or is damaged.
    """
    data = read_bytes(uri)
    try:
        tree = json.loads(data)
    except ValueError as error:
        raise StorageError(f"{printable(uri)} is damaged ({error}): {cure}.", uri) from error
    if not isinstance(tree, dict):
        raise StorageError(f"{printable(uri)} is damaged (it is no JSON object): {cure}.", uri)
    return tree


def write_lines(uri: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one line per row and return how many; any number, since they are staged on the local disk."""
    count = 0
    with staged_file(uri) as staged, staged.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
            count += 1
    return count
