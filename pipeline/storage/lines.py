"""JSON as hanclip stores it: one value as indented text, and rows as lines, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.scratch.folder import ScratchFolder
from pipeline.storage.writing import upload


def json_bytes(tree: Mapping[str, Any]) -> bytes:
    """`tree` as indented UTF-8 text that ends with a newline."""
    return (json.dumps(tree, indent=2, ensure_ascii=False) + "\n").encode()


def write_lines(uri: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one line per row and return how many; any number, since they are staged on the local disk."""
    count = 0
    with ScratchFolder() as folder:
        staged = folder / "lines.jsonl"
        with staged.open("w", encoding="utf-8", newline="\n") as file:
            for row in rows:
                file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
                count += 1
        upload(uri, staged)
    return count
