"""Writes predictions and scores byte for byte as the Chinese-CLIP authors' evaluation does.

    {split}_predictions.jsonl       {"text_id": 1, "image_ids": [best, ...]}
    {split}_tr_predictions.jsonl    {"image_id": 7, "text_ids": [best, ...]}
    output.json, tr_output.json     {"success": true, "score": ..., "scoreJson": {...}}

In: ids as text. Out: files at any URI, each uploaded when it is complete. Integer ids are written as JSON integers,
which their scripts require.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline import storage
from pipeline.curation.evaluate.recall import Recall
from pipeline.sources.chinese_clip.texts_file import as_number


class AnswerSink(Protocol):
    """Receives the answers of a search, one query at a time."""

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Receive the ids found for a query, best first."""


class PredictionLines:
    """Writes a line per query; `keys` are the JSON keys of the query's id and of the list of ids found."""

    def __init__(self, path: Path, keys: tuple[str, str]) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._query, self._found = keys

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Write a line."""
        line = {self._query: _json_id(query_id), self._found: [_json_id(id_) for id_ in found]}
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def prediction_file(uri: str, keys: tuple[str, str]) -> Iterator[PredictionLines]:
    """Lines that are uploaded to `uri` at the end; nothing is uploaded after an error."""
    with storage.staged_file(uri) as staged, closing(PredictionLines(staged, keys)) as lines:
        yield lines


def write_output(uri: str, result: Recall | str) -> None:
    """Write the scores, or the reason why there are none."""
    storage.overwrite(uri, json.dumps(output_tree(result)).encode())


def output_tree(result: Recall | str) -> dict[str, Any]:
    """The JSON object that the published scripts write."""
    if isinstance(result, str):
        return {"errorDetail": result, "errorMsg": result, "score": 0, "scoreJson": {}, "success": False}
    r1, r5, r10 = result.at
    scores = {"score": result.mean, "mean_recall": result.mean, "r1": r1, "r5": r5, "r10": r10}
    return {"success": True, "score": result.mean, "scoreJson": scores}


def _json_id(id_: str) -> int | str:
    number = as_number(id_)
    return id_ if number is None else number
