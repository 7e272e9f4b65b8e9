"""What was found, as the Chinese-CLIP authors' evaluation writes it, byte for byte.

    {split}_predictions.jsonl       {"text_id": 1, "image_ids": [best, ...]}
    {split}_tr_predictions.jsonl    {"image_id": 7, "text_ids": [best, ...]}
    output.json, tr_output.json     {"success": true, "score": ..., "scoreJson": {...}}

In: ids as text. Out: files in a folder at any address; a file appears when it is complete. Ids that are integers are
written as such, which their scripts ask for.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline import storage
from pipeline.curation.evaluate.recall import Recall
from pipeline.sources.chinese_clip.texts_file import as_number


class Answers(Protocol):
    """Where answers go, one query at a time."""

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Take what was found for a query, best first."""


class PredictionLines:
    """Writes a line for each query; `keys` are the names of its id and of the list."""

    def __init__(self, path: Path, keys: tuple[str, str]) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._query, self._found = keys

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Write a line."""
        line = {self._query: _shown(query_id), self._found: [_shown(id_) for id_ in found]}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """No more lines."""
        self._file.close()


@contextmanager
def prediction_file(uri: str, keys: tuple[str, str]) -> Iterator[PredictionLines]:
    """Lines that become the file at `uri` at the end; nothing of it is there after an error."""
    with tempfile.TemporaryDirectory(prefix="hanclip-") as folder:
        staged = Path(folder) / "predictions.jsonl"
        lines = PredictionLines(staged, keys)
        try:
            yield lines
        finally:
            lines.close()
        storage.upload(uri, staged)


def write_output(uri: str, result: Recall | str) -> None:
    """Write the scores, or why there are none."""
    storage.overwrite(uri, json.dumps(output_tree(result)).encode())


def output_tree(result: Recall | str) -> dict[str, Any]:
    """The JSON object that the published scripts write."""
    if isinstance(result, str):
        return {"errorDetail": result, "errorMsg": result, "score": 0, "scoreJson": {}, "success": False}
    r1, r5, r10 = result.at
    scores = {"score": result.mean, "mean_recall": result.mean, "r1": r1, "r5": r5, "r10": r10}
    return {"success": True, "score": result.mean, "scoreJson": scores}


def _shown(id_: str) -> int | str:
    number = as_number(id_)
    return id_ if number is None else number
