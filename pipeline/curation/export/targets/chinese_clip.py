"""The files that the Chinese-CLIP authors' scripts read, made of stored vectors.

    {split}_imgs.img_feat.jsonl    {"image_id": 7, "feature": [...]}
    {split}_texts.txt_feat.jsonl   {"text_id": 7, "feature": [...]}
    {split}_texts.jsonl            {"text_id": 7, "text": "...", "image_ids": [7]}, the ground truth
    {split}_ids.tsv                number and id of each row, where rows were numbered

Their ids are whole numbers. One pass over the dataset writes all of them, so that they tell of one state. Features read
back as the very float32 that is stored; those stored as float16 are brought to unit length again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
from pydantic import StrictInt, TypeAdapter, ValidationError

from pipeline import storage
from pipeline.curation.export.registry import Exported, Request
from pipeline.curation.export.staging import Staged, staged
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


def export(request: Request) -> Exported:
    """Write the files. Raises UsageError for an id, of a row or in its ground truth, that is no whole number."""
    identity = Dataset.open(request.out).identity
    chosen = {"image": [IMAGE], "text": [TEXT]}.get(request.options.vectors or "", list(identity.vector_columns))
    beside = ["text"] * (TEXT in chosen) + [_GROUND_TRUTH] * (TEXT in chosen and _has_ground_truth(request, identity))
    reader = latest(request.out, ["id", *chosen, *beside])
    split, rows = request.options.split, _Rows(request.options.number_ids)
    with staged(request.dest) as files:
        writers = _writers(files, chosen, identity.vector_columns, split)
        ids = files.open(f"{split}_ids.tsv") if request.options.number_ids else None
        for table in (part for batch in reader for part in _slices(batch)):
            numbers = rows.numbers(table["id"].to_pylist())
            for writer in writers:
                writer.write(table, numbers)
            if ids:
                ids.writelines(
                    _id_line(number, id_) for number, id_ in zip(numbers, table["id"].to_pylist(), strict=True)
                )
            request.on_rows(table.num_rows)
    written = {writer.name: writer.rows for writer in writers} | ({f"{split}_ids.tsv": rows.count} if ids else {})
    return Exported({storage.join(request.dest, name): count for name, count in written.items()})


def _has_ground_truth(request: Request, identity: Identity) -> bool:
    """Whether the source named each text's images, by ids that stay."""
    if request.options.number_ids or _GROUND_TRUTH not in identity.extra.names:
        return False
    return bool(pa.types.is_string(identity.extra.field(_GROUND_TRUTH).type))


class _Rows:
    """Gives each row its whole number: its id, or its place."""

    def __init__(self, by_place: bool) -> None:
        self._by_place = by_place
        self.count = 0

    def numbers(self, ids: Sequence[str]) -> list[int]:
        """The numbers of the next rows."""
        first, self.count = self.count, self.count + len(ids)
        return list(range(first, self.count)) if self._by_place else [_whole(id_) for id_ in ids]


def _whole(id_: str) -> int:
    """An id as the number that it is written as."""
    number = as_number(id_)
    if number is not None:
        return number
    raise UsageError(
        f"The id {id_!r} is no whole number, and the Chinese-CLIP authors' scripts take no other. "
        "Number the rows with --number-ids; which number is which id is written beside them."
    )


class _Features:
    """Writes the vectors of one column."""

    def __init__(self, files: Staged, split: str, vector: str) -> None:
        suffix, self._key = _FEATURES[vector]
        self.name, self.rows, self._vector = f"{split}_{suffix}", 0, vector
        self._file = files.open(self.name)

    def write(self, table: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """The rows that have a vector."""
        column = table[self._vector]
        held = [number for number, there in zip(numbers, column.is_valid().to_pylist(), strict=True) if there]
        vectors = matrix(column.drop_null())
        if pa.types.is_float16(column.type.value_type):
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        _write_lines(self._file, ({self._key: n, "feature": v} for n, v in zip(held, vectors.tolist(), strict=True)))
        self.rows += len(held)


class _Texts:
    """Writes the texts with the images that they describe: those that their source named, else that of their row."""

    def __init__(self, files: Staged, split: str, paired: bool) -> None:
        self.name, self.rows, self._paired = f"{split}_texts.jsonl", 0, paired
        self._file = files.open(self.name)

    def write(self, table: pa.RecordBatch, numbers: Sequence[int]) -> None:
        """The rows that have a text."""
        texts = table["text"].to_pylist()
        named = table[_GROUND_TRUTH].to_pylist() if _GROUND_TRUTH in table.schema.names else [None] * len(texts)
        lines = [
            {"text_id": number, "text": text, "image_ids": self._images(number, images)}
            for number, text, images in zip(numbers, texts, named, strict=True)
            if text is not None
        ]
        _write_lines(self._file, lines)
        self.rows += len(lines)

    def _images(self, number: int, named: str | None) -> list[int]:
        if named is not None:
            return _image_ids(number, named)
        return [number] if self._paired else []


def _image_ids(number: int, named: str) -> list[int]:
    """The ids in a cell of the column `image_ids`, which may be a column of the user's own."""
    try:
        return _IMAGE_IDS.validate_json(named)
    except ValidationError as error:
        raise UsageError(
            f"The row {number} has {named[:80]!r} in its column image_ids, and the Chinese-CLIP authors' scripts take "
            "a list of whole numbers as ground truth, such as [7, 8]. Correct the column, or leave it out with "
            "--number-ids."
        ) from error


def _writers(files: Staged, chosen: Sequence[str], held: Sequence[str], split: str) -> list[_Features | _Texts]:
    writers: list[_Features | _Texts] = [_Features(files, split, vector) for vector in chosen]
    return [*writers, _Texts(files, split, IMAGE in held)] if TEXT in chosen else writers


def _write_lines(file: IO[str], rows: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> None:
    file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _id_line(number: int, id_: str) -> str:
    escaped = id_.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return f"{number}\t{escaped}\n"


def _slices(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(at, _ROWS) for at in range(0, batch.num_rows, _ROWS))
