"""Recall on a dataset's own pairs: whether each text finds its image among all, and each image its text.

In: a dataset with images and texts. Out: a score for each direction. Rows of one text are one query, and each of their
images is right; rows of one image (the same bytes) are one query backwards, and each of their texts is right. So a
caption that a hundred rows share is asked once, and a copied image is one candidate, not two in each other's way.

The dataset is gone through once for its keys, and for each direction once for its queries and once more for each 65,536
of them: those, and 40 bytes a row, are all that is held. Ties keep the order of the rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.evaluate.recall import Nearest, Recall, found_at
from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.evaluate.search import Direction, Outcome
from pipeline.curation.vectors import IMAGE, TEXT, Vectors, matrix, require_vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError, UsageError
from pipeline.phases import OnRows

Codes = npt.NDArray[np.uint64]

_QUERY_ROWS = 65536
_COLUMNS = {Direction.TEXT_TO_IMAGE: (TEXT, IMAGE), Direction.IMAGE_TO_TEXT: (IMAGE, TEXT)}  # queries, candidates
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class _Side:
    """The texts, or the images, of N rows.

    Attributes:
        codes: 64 bits of a digest of each row's; rows of one code have the same.
        first: (N,) rows that are the first of their code: the candidates.
        asked: (N,) those of them that are queries.
    """

    codes: Codes
    first: npt.NDArray[np.bool_]
    asked: npt.NDArray[np.bool_]


class OwnPairs:
    """The pairs of a dataset's rows.

    Attributes:
        rows: how many rows take part.
    """

    def __init__(self, out: str, row_filter: RowFilter, sample: int | None = None) -> None:
        """Read the keys of the dataset at `out`.

        Args:
            out: the dataset.
            row_filter: which of its rows take part.
            sample: how many queries to ask in each direction, drawn by their digests; all if not given.

        Raises:
            UsageError: the dataset lacks images or texts, or no row takes part.
            IdentityError, StorageError, RunError: it cannot be read.
        """
        require_vectors(Dataset.open(out), IMAGE, TEXT)
        self._out, self._filter, self._checksum = out, row_filter, 0
        codes: dict[str, list[Codes]] = {TEXT: [], IMAGE: []}
        for table, _ in self._tables():
            codes[TEXT].append(_codes(table["text"], _text_code))
            codes[IMAGE].append(_codes(table["image_sha256"], _image_code))
            self._checksum = _extended(self._checksum, table)
        self.rows = sum(map(len, codes[TEXT]))
        if not self.rows:
            raise UsageError(
                f"No row of {out} with an image and a text takes part. Check --where, or `hanclip status`."
            )
        self._sides = {column: _side(np.concatenate(parts), sample) for column, parts in codes.items()}
        self._pairs = np.unique(_mixed(self._sides[TEXT].codes, self._sides[IMAGE].codes))

    def passes(self, direction: Direction) -> int:
        """How often `evaluate` goes through the candidates."""
        return -(-int(self._sides[_COLUMNS[direction][0]].asked.sum()) // _QUERY_ROWS)

    def evaluate(self, direction: Direction, on_rows: OnRows = lambda _: None) -> Outcome:
        """Score a direction; `on_rows` counts the rows read, `rows` times `passes` in all.

        Raises:
            RunError: the dataset changed since its keys were read.
        """
        queries, candidates = (self._sides[column] for column in _COLUMNS[direction])
        gallery, found = candidates.codes[candidates.first], np.zeros(3, np.int64)
        for codes, vectors in self._queries(direction):
            nearest = Nearest(vectors)
            for rows, block in self._vectors():
                nearest.add(block[_COLUMNS[direction][1]][candidates.first[rows]])
                on_rows(rows.stop - rows.start)
            right = np.isin(_of_pairs(direction, codes[:, None], gallery[nearest.positions]), self._pairs)
            found += found_at(right & (nearest.positions >= 0))
        asked = int(queries.asked.sum())
        r1, r5, r10 = found.tolist()
        return Outcome(direction, asked, len(gallery), Recall(asked, (r1, r5, r10)))

    def _queries(self, direction: Direction) -> Iterator[tuple[Codes, Vectors]]:
        """Codes and vectors of the queries, up to `_QUERY_ROWS` at a time."""
        column = _COLUMNS[direction][0]
        side, held, count = self._sides[column], list[tuple[Codes, Vectors]](), 0
        for rows, block in self._vectors():
            asked = side.asked[rows]
            held.append((side.codes[rows][asked], block[column][asked]))
            count += len(held[-1][0])
            while count >= _QUERY_ROWS:
                codes, vectors = _joined(held)
                yield codes[:_QUERY_ROWS], vectors[:_QUERY_ROWS]
                held, count = [(codes[_QUERY_ROWS:], vectors[_QUERY_ROWS:])], count - _QUERY_ROWS
        if count:
            yield _joined(held)

    def _vectors(self) -> Iterator[tuple[slice, Mapping[str, Vectors]]]:
        """Blocks of rows: where they stand among the rows, and their vectors by column."""
        seen, checksum = 0, 0
        for table, texts in self._tables(IMAGE):
            checksum = _extended(checksum, table)
            rows = slice(seen, seen := seen + table.num_rows)
            if seen > self.rows:
                break
            yield rows, {TEXT: texts, IMAGE: matrix(table[IMAGE])}
        if checksum != self._checksum:
            raise RunError(f"The dataset at {self._out} changed while it was read. Run the same command again.")

    def _tables(self, *columns: str) -> Iterator[tuple[pa.Table, Vectors]]:
        """The rows that take part, beside their text vectors."""
        wanted = ("text", "image_sha256", *self._filter.columns, *columns)
        for block in vector_blocks(self._out, TEXT, wanted):
            rows = self._filter.rows(block.rows)
            yield block.rows.take(rows), block.vectors[rows]


def _side(codes: Codes, sample: int | None) -> _Side:
    """A sample is the queries of the smallest codes, which are digests: it is drawn evenly, and the same every time."""
    first, asked = np.zeros(len(codes), np.bool_), np.zeros(len(codes), np.bool_)
    _, places = np.unique(codes, return_index=True)  # in the order of the codes
    first[places] = True
    asked[places[:sample]] = True
    return _Side(codes, first, asked)


def _of_pairs(direction: Direction, queries: Codes, found: Codes) -> Codes:
    return _mixed(queries, found) if direction is Direction.TEXT_TO_IMAGE else _mixed(found, queries)


def _mixed(texts: Codes, images: Codes) -> Codes:
    """One code for each pair."""
    return texts * _ODD ^ images


def _codes(column: pa.ChunkedArray, code: Callable[[str], int]) -> Codes:
    return np.array([code(value) for value in column.to_pylist()], np.uint64)


def _text_code(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _image_code(sha256: str) -> int:
    return int(sha256[:16], 16)


def _extended(checksum: int, table: pa.Table) -> int:
    """The checksum of all ids up to now."""
    return zlib.crc32("".join(f"{id_}\n" for id_ in table["id"].to_pylist()).encode(), checksum)


def _joined(held: list[tuple[Codes, Vectors]]) -> tuple[Codes, Vectors]:
    return np.concatenate([codes for codes, _ in held]), np.concatenate([vectors for _, vectors in held])
