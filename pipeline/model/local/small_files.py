"""Reads the small files of a model: JSON and text. Some editors put a byte order mark in front, which is dropped.

In a repository that was cloned without Git LFS, a file may be a pointer of three lines; it is named as such.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError

_LFS_POINTER = b"version https://git-lfs"


def refuse_pointer(path: Path) -> None:
    """Raise ModelError if the file is a pointer of Git LFS."""
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise ModelError(
                f"{path} is a pointer of Git LFS, not the file itself: run `git lfs pull` in the repository that it "
                "was cloned with, or download the file."
            )


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises ModelError for a pointer, and ValueError if it is not UTF-8."""
    refuse_pointer(path)
    return path.read_text(encoding="utf-8-sig")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ModelError if it holds something else."""
    try:
        tree = json.loads(read_text(path))
    except ValueError as error:
        raise _unparsable(path, error) from error
    if not isinstance(tree, dict):
        raise _unparsable(path, TypeError(f"a {type(tree).__name__}, not an object"))
    return tree


def _unparsable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} cannot be parsed ({error!r}): take that file from the model that yours was tuned from, or correct it."
    )
