"""Computes recall on a dataset's own pairs: whether each text finds its image among all images, and vice versa.

In: a dataset with images and texts. Out: a score per direction. Rows with the same text form one query, for which all
their images are relevant; rows with the same image bytes form one query in the other direction, for which all their
texts are relevant. So a caption shared by a hundred rows is one query, and copies of an image are one candidate.

The dataset is read once for its keys, then for each direction once for the queries and once per 65,536 queries. Only
these queries and 40 bytes per row are in memory. Ties keep the order of the rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.evaluate.recall import Recall, TopK, found_at
from pipeline.curation.evaluate.row_filter import RowFilter
from pipeline.curation.evaluate.search import Direction, DirectionResult
from pipeline.curation.vectors import IMAGE, TEXT, Vectors, matrix, require_vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.errors import RunError, UsageError
from pipeline.phases import OnRows

Digests = npt.NDArray[np.uint64]

_QUERY_ROWS = 65536
_COLUMNS = {Direction.TEXT_TO_IMAGE: (TEXT, IMAGE), Direction.IMAGE_TO_TEXT: (IMAGE, TEXT)}  # queries, candidates
_ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class _Side:
    """The texts, or the images, of N rows.

    Attributes:
        digests: (N,) equal for equal texts or images.
        is_candidate: (N,) the first row of each digest.
        is_query: (N,) those candidates that are also queries.
    """

    digests: Digests
    is_candidate: npt.NDArray[np.bool_]
    is_query: npt.NDArray[np.bool_]


class OwnPairs:
    """The pairs of text and image in a dataset's rows.

    Attributes:
        rows: how many rows are evaluated.
    """

    def __init__(self, out: str, row_filter: RowFilter, sample: int | None = None) -> None:
        """Read the keys of the dataset at `out`.

        Args:
            out: the dataset.
            row_filter: which of its rows to evaluate.
            sample: how many queries to draw per direction, by their digests; None for all.

        Raises:
            UsageError: the dataset lacks images or texts, or no row is left to evaluate.
            IdentityError, StorageError, RunError: it cannot be read.
        """
        require_vectors(Dataset.open(out), IMAGE, TEXT)
        self._out, self._filter, self._checksum = out, row_filter, 0
        digests: dict[str, list[Digests]] = {TEXT: [], IMAGE: []}
        for table, _ in self._tables():
            digests[TEXT].append(_digests(table["text"], _text_digest))
            digests[IMAGE].append(_digests(table["image_sha256"], _image_digest))
            self._checksum = _extended(self._checksum, table)
        self.rows = sum(map(len, digests[TEXT]))
        if not self.rows:
            raise UsageError(
                f"No row of {out} with an image and a text is left to evaluate. Check --where, or `hanclip status`."
            )
        self._sides = {column: _side(np.concatenate(parts), sample) for column, parts in digests.items()}
        self._pairs = np.unique(_pair_digests(self._sides[TEXT].digests, self._sides[IMAGE].digests))

    def passes(self, direction: Direction) -> int:
        """How often `evaluate` reads the candidates."""
        return -(-int(self._sides[_COLUMNS[direction][0]].is_query.sum()) // _QUERY_ROWS)

    def evaluate(self, direction: Direction, on_rows: OnRows = lambda _: None) -> DirectionResult:
        """Score a direction; `on_rows` counts the rows read, `rows` times `passes` in all.

        Raises:
            RunError: the dataset changed since its keys were read.
        """
        queries, candidates = (self._sides[column] for column in _COLUMNS[direction])
        gallery, found = candidates.digests[candidates.is_candidate], np.zeros(3, np.int64)
        for digests, vectors in self._queries(direction):
            top = TopK(vectors)
            for rows, block in self._vectors():
                top.add(block[_COLUMNS[direction][1]][candidates.is_candidate[rows]])
                on_rows(rows.stop - rows.start)
            relevant = np.isin(_answers(direction, digests[:, None], gallery[top.positions]), self._pairs)
            found += found_at(relevant & (top.positions >= 0))
        count = int(queries.is_query.sum())
        r1, r5, r10 = found.tolist()
        return DirectionResult(direction, count, len(gallery), Recall(count, (r1, r5, r10)))

    def _queries(self, direction: Direction) -> Iterator[tuple[Digests, Vectors]]:
        """Digests and vectors of the queries, up to `_QUERY_ROWS` at a time."""
        column = _COLUMNS[direction][0]
        side, pending, count = self._sides[column], list[tuple[Digests, Vectors]](), 0
        for rows, block in self._vectors():
            chosen = side.is_query[rows]
            pending.append((side.digests[rows][chosen], block[column][chosen]))
            count += len(pending[-1][0])
            while count >= _QUERY_ROWS:
                digests, vectors = _joined(pending)
                yield digests[:_QUERY_ROWS], vectors[:_QUERY_ROWS]
                pending, count = [(digests[_QUERY_ROWS:], vectors[_QUERY_ROWS:])], count - _QUERY_ROWS
        if count:
            yield _joined(pending)

    def _vectors(self) -> Iterator[tuple[slice, Mapping[str, Vectors]]]:
        """Blocks of rows: their positions among all rows, and their vectors by column."""
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
        """The rows to evaluate, and their text vectors."""
        for block in vector_blocks(self._out, TEXT, ("text", "image_sha256", *self._filter.columns, *columns)):
            rows = self._filter.rows(block.rows)
            yield block.rows.take(rows), block.vectors[rows]


def _side(digests: Digests, sample: int | None) -> _Side:
    """Mark candidates and queries. A sample has the smallest digests: a uniform draw that is the same on every run."""
    is_candidate, is_query = np.zeros(len(digests), np.bool_), np.zeros(len(digests), np.bool_)
    _, first_rows = np.unique(digests, return_index=True)  # in the order of the digests
    is_candidate[first_rows] = True
    is_query[first_rows[:sample]] = True
    return _Side(digests, is_candidate, is_query)


def _answers(direction: Direction, queries: Digests, found: Digests) -> Digests:
    """The digests of the pairs of queries and candidates."""
    return _pair_digests(queries, found) if direction is Direction.TEXT_TO_IMAGE else _pair_digests(found, queries)


def _pair_digests(texts: Digests, images: Digests) -> Digests:
    return texts * _ODD ^ images


def _digests(column: pa.ChunkedArray, digest: Callable[[str], int]) -> Digests:
    return np.array([digest(value) for value in column.to_pylist()], np.uint64)


def _text_digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _image_digest(sha256: str) -> int:
    return int(sha256[:16], 16)


def _extended(checksum: int, table: pa.Table) -> int:
    """The checksum of all ids read so far."""
    return zlib.crc32("".join(f"{id_}\n" for id_ in table["id"].to_pylist()).encode(), checksum)


def _joined(parts: list[tuple[Digests, Vectors]]) -> tuple[Digests, Vectors]:
    return np.concatenate([digests for digests, _ in parts]), np.concatenate([vectors for _, vectors in parts])
