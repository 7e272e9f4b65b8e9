"""Exports stored vectors to the files that the Chinese-CLIP authors' scripts read.

    {split}_imgs.img_feat.jsonl    {"image_id": 7, "feature": [...]}
    {split}_texts.txt_feat.jsonl   {"text_id": 7, "feature": [...]}
    {split}_texts.jsonl            {"text_id": 7, "text": "...", "image_ids": [7]}, the ground truth
    {split}_ids.tsv                number and id of each row, with --number-ids

The scripts require integer ids. One pass over the dataset writes all files, so that they show the same state. Features
read back as exactly the stored float32; features stored as float16 are normalised again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pydantic import StrictInt, TypeAdapter, ValidationError

from pipeline import storage
from pipeline.curation.export.contract import Exported, ExportRequest
from pipeline.curation.export.staging import StagedFiles, staged_files
from pipeline.curation.vectors import IMAGE, TEXT, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import Identity
from pipeline.dataset.latest_rows import latest
from pipeline.errors import UsageError
from pipeline.sources.chinese_clip.texts_file import as_number

_ROWS = 4096
_FEATURES = {IMAGE: ("imgs.img_feat.jsonl", "image_id"), TEXT: ("texts.txt_feat.jsonl", "text_id")}
_GROUND_TRUTH = "image_ids"
_IMAGE_IDS = TypeAdapter(list[StrictInt])


def export(request: ExportRequest) -> Exported:
    """Write the files. Raises UsageError for an id, of a row or in its ground truth, that is not an integer."""
    identity = Dataset.open(request.out).identity
    chosen = {"image": [IMAGE], "text": [TEXT]}.get(request.options.vectors or "", list(identity.vector_columns))
    with staged_files(request.dest) as files:
        writers = _writers(files, request, chosen, identity)
        integer_ids = _IntegerIds(request.options.number_ids)
        for batch in latest(request.out, ["id", *chosen, *_text_columns(request, chosen, identity)]):
            for table in _slices(batch):
                numbers = integer_ids.take(table["id"].to_pylist())
                for writer in writers:
                    writer.write(table, numbers)
                request.on_rows(table.num_rows)
    return Exported({storage.join(request.dest, writer.name): writer.rows for writer in writers})


def _text_columns(request: ExportRequest, chosen: Sequence[str], identity: Identity) -> list[str]:
    if TEXT not in chosen:
        return []
    return ["text", _GROUND_TRUTH] if _has_ground_truth(request, identity) else ["text"]


def _has_ground_truth(request: ExportRequest, identity: Identity) -> bool:
    """Whether the source lists the images of each text, by ids that the export keeps."""
    if request.options.number_ids or _GROUND_TRUTH not in identity.extra.names:
        return False
    return bool(pa.types.is_string(identity.extra.field(_GROUND_TRUTH).type))


class _IntegerIds:
    """Assigns an integer to each row: its id, or with `by_position` its position in the dataset."""

    def __init__(self, by_position: bool) -> None:
        self._by_position, self._next = by_position, 0

    def take(self, ids: Sequence[str]) -> list[int]:
        """The integers of the next rows."""
        first, self._next = self._next, self._next + len(ids)
        return list(range(first, self._next)) if self._by_position else [_parsed(id_) for id_ in ids]


def _parsed(id_: str) -> int:
    number = as_number(id_)
    if number is not None:
        return number
    raise UsageError(
        f"The id {id_!r} is not an integer, which the Chinese-CLIP authors' scripts require. "
        "Number the rows with --number-ids; a file maps the numbers to the ids."
    )


class _Features:
    """Writes the vectors of one column."""

    def __init__(self, files: StagedFiles, split: str, vector: str) -> None:
        suffix, self._key = _FEATURES[vector]
        self.name, self.rows, self._vector = f"{split}_{suffix}", 0, vector
        self._file = files.open(self.name)

    def write(self, table: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """Write the rows that have a vector."""
        column = table[self._vector]
        present = [number for number, valid in zip(numbers, column.is_valid().to_pylist(), strict=True) if valid]
        vectors = matrix(column.drop_null())
        if pa.types.is_float16(column.type.value_type):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        lines = ({self._key: n, "feature": v} for n, v in zip(present, vectors.tolist(), strict=True))
        _write_lines(self._file, lines)
        self.rows += len(present)


class _Texts:
    """Writes each text with the images it describes: those its source lists, else the image of its row."""

    def __init__(self, files: StagedFiles, split: str, paired: bool) -> None:
        self.name, self.rows, self._paired = f"{split}_texts.jsonl", 0, paired
        self._file = files.open(self.name)

    def write(self, table: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """Write the rows that have a text."""
        texts = table["text"].to_pylist()
        listed = table[_GROUND_TRUTH].to_pylist() if _GROUND_TRUTH in table.schema.names else [None] * len(texts)
        lines = [
            {"text_id": number, "text": text, "image_ids": self._images(number, images)}
            for number, text, images in zip(numbers, texts, listed, strict=True)
            if text is not None
        ]
        _write_lines(self._file, lines)
        self.rows += len(lines)

    def _images(self, number: int, listed: str | None) -> list[int]:
        if listed is not None:
            return _image_ids(number, listed)
        return [number] if self._paired else []


class _Ids:
    """Writes which number stands for which id."""

    def __init__(self, files: StagedFiles, split: str) -> None:
        self.name, self.rows = f"{split}_ids.tsv", 0
        self._file = files.open(self.name)

    def write(self, table: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """Write all rows."""
        self._file.writelines(map(_id_line, numbers, table["id"].to_pylist()))
        self.rows += table.num_rows


def _image_ids(number: int, listed: str) -> list[int]:
    """Parse a cell of the column `image_ids`, which may also be a column that the user made."""
    try:
        return _IMAGE_IDS.validate_json(listed)
    except ValidationError as error:
        raise UsageError(
            f"The row {number} has {listed[:80]!r} in its column image_ids, and the Chinese-CLIP authors' scripts "
            "require a list of integers as ground truth, such as [7, 8]. Correct the column, or leave it out with "
            "--number-ids."
        ) from error


def _writers(
    files: StagedFiles, request: ExportRequest, chosen: Sequence[str], identity: Identity
) -> list[_Features | _Texts | _Ids]:
    split = request.options.split
    writers: list[_Features | _Texts | _Ids] = [_Features(files, split, vector) for vector in chosen]
    if TEXT in chosen:
        writers.append(_Texts(files, split, IMAGE in identity.vector_columns))
    return [*writers, _Ids(files, split)] if request.options.number_ids else writers


def _write_lines(file: IO[str], rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _id_line(number: int, id_: str) -> str:
    escaped = id_.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return f"{number}\t{escaped}\n"


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(at, _ROWS) for at in range(0, batch.num_rows, _ROWS))
