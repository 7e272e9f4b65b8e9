"""Copies the latest rows of a dataset to the local disk once, so that all rungs see the same state.

In: a dataset, and the columns and vectors that are needed. Out: a table `rows` in a workspace, numbered by `row` from 0
in the order of the dataset, and files of vectors in the same order. Memory use does not grow with the dataset, but the
vectors need space in the temporary folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.curation.vectors import IMAGE, KEY, TEXT, Vectors, matrix
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.dataset.scan import RUN_DATE, choose
from pipeline.phases import OnRows
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace

#: Numbers of rows or of vectors.
Indices = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

#: Name of the column with the texts as rung `text` compares them.
PLAIN_TEXT = "plain_text"
#: Columns that dedup adds to those of the dataset.
ADDED = frozenset({"row", PLAIN_TEXT, "_group", "_kept", "_name", "_best"})
_SPACE = r"[\s\v\x1c-\x1f\x{85}\p{Z}]+"
#: Characters that nobody sees: controls, joiners, direction marks, fillers, variation selectors. Tags are left, since
#: they tell flags apart.
_UNSEEN = (
    r"[\x00-\x08\x0e-\x1b\x7f-\x{84}\x{86}-\x{9f}\x{ad}\x{34f}\x{61c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}"
    r"\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}\x{fff0}-\x{fffb}"
    r"\x{1d173}-\x{1d17a}\x{e0001}\x{e0100}-\x{e01ef}]"
)


@dataclass(frozen=True, slots=True)
class Rows:
    """N rows on the local disk.

    Attributes:
        work: the workspace with the table `rows`.
        sources: the address of each dataset that was read, and how many rows there are up to its last one. The first is
            the dataset itself, the others are references.
        schema: the table's columns.
        vectors: by vector column, the path of a file of (N, D) float32; rows without that vector are zero.
        dim: D.
    """

    work: Workspace
    sources: tuple[tuple[str, int], ...]
    schema: pa.Schema
    vectors: dict[str, str]
    dim: int

    @property
    def count(self) -> int:
        """N."""
        return self.sources[-1][1]

    @property
    def own(self) -> int:
        """How many of the rows, the first ones, are of the dataset itself."""
        return self.sources[0][1]

    def matrix(self, vector: str) -> Vectors:
        """The (N, D) vectors, memory-mapped."""
        return mapped(self.vectors[vector], self.count, self.dim)

    def column(self, name: str) -> npt.NDArray[Any]:
        """The (N,) values of a numeric column without nulls."""
        column: npt.NDArray[Any] = pq.read_table(self.work.path("rows.parquet"), columns=[name])[name].to_numpy()
        return column

    def numbers(self, sql: str) -> Indices:
        """(N,) values: `sql` is a SELECT of `row` and `value` over `rows`; rows that it does not return get -1."""
        found = np.full(self.count, -1)
        for batch in self.work.batches(sql):
            found[batch["row"].to_numpy()] = batch["value"].to_numpy()
        return found

    def firsts(self, expression: str) -> Indices:
        """For every row the first row with an equal value of `expression`; -1 if the value is null."""
        return self.numbers(
            f"SELECT row, min(row) OVER (PARTITION BY {expression}) AS value FROM rows WHERE {expression} IS NOT NULL"
        )


def usable(schema: pa.Schema) -> list[str]:
    """The columns that SQL can tell from others, and from those that are added, by their names without case."""
    first = {name.lower(): name for name in reversed(schema.names)}
    return [name for name in schema.names if first[name.lower()] == name and name.lower() not in ADDED]


def gather_rows(
    dataset: Dataset,
    work: Workspace,
    columns: Sequence[str],
    vectors: Sequence[str],
    on_rows: OnRows = lambda _: None,
    references: Sequence[Dataset] = (),
) -> Rows:
    """Copy the latest rows of `dataset` into `work`, and after them those of the `references`.

    Args:
        dataset: what to read.
        work: the workspace.
        columns: columns besides the key; `PLAIN_TEXT` is computed from the text.
        vectors: vector columns.
        on_rows: called with the rows read since the last call.
        references: their rows have nulls in columns that they lack, or have with another type.
    """
    stored = [*dict.fromkeys([*KEY, *("text" if name == PLAIN_TEXT else name for name in columns)])]
    schema = choose(dataset.identity.schema.append(RUN_DATE), stored)
    read = [name for name in dict.fromkeys([*stored, *vectors]) if name != RUN_DATE.name]
    if PLAIN_TEXT in columns:
        schema = schema.append(pa.field(PLAIN_TEXT, pa.string()))
    files = {name: work.path(f"{name}.f32") for name in vectors}
    opened = {name: open(path, "wb") for name, path in files.items()}  # noqa: SIM115
    nullable = pa.schema([field.with_nullable(True) for field in schema])
    spool, sources = Spool(work, "rows", nullable.append(pa.field("row", pa.int64()))), []
    try:
        with spool:
            for one in (dataset, *references):
                for table in _read(one, dataset, read):
                    spool.add(_with_plain_text(table.select(stored), schema))
                    for name, file in opened.items():
                        file.write(unit_vectors(table[name]).tobytes())
                    on_rows(table.num_rows)
                sources.append((one.uri, spool.rows))
    finally:
        for file in opened.values():
            file.close()
    return Rows(work, tuple(sources), schema, files, dataset.identity.dim)


def _read(one: Dataset, dataset: Dataset, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The latest rows of `one`, with nulls in columns that it lacks or has with another type than `dataset`."""
    here, there = dataset.identity.schema, one.identity.schema
    shared = [name for name in columns if name in there.names]
    shared = [name for name in shared if name in (IMAGE, TEXT) or here.field(name).type == there.field(name).type]
    for batch in latest(one.uri, shared):
        if batch.num_rows:
            table = pa.Table.from_batches([batch])
            for name in columns:
                if name not in shared:
                    table = table.append_column(name, pa.nulls(table.num_rows, here.field(name).type))
            yield table


def mapped(path: str, rows: int, dim: int) -> Vectors:
    """A memory-mapped file of (rows, dim) float32."""
    if not rows:
        return np.empty((0, dim), np.float32)
    return np.asarray(np.memmap(path, np.float32, "r", shape=(rows, dim)))


def _with_plain_text(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table.append_column(PLAIN_TEXT, normalised(table["text"])) if PLAIN_TEXT in schema.names else table


def normalised(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts in Unicode form NFKC without invisible characters, with single spaces, and none at the ends."""
    plain = pc.utf8_normalize(pc.replace_substring_regex(texts, _UNSEEN, ""), form="NFKC")
    spaced = pc.replace_substring_regex(plain, _SPACE, " ")
    return pc.utf8_trim_whitespace(spaced)


def unit_vectors(column: pa.ChunkedArray) -> Vectors:
    """A vector column as (B, D), zero where it is null. Normalised again, since storage may have rounded it."""
    found = np.zeros((len(column), column.type.list_size), np.float32)
    vectors = matrix(column.drop_null())
    found[column.is_valid().to_numpy()] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


#: SQL expressions over the rows; rows with equal values have the same vector.
VECTOR_KEYS = {IMAGE: "image_pixels_xxh128", TEXT: "sha256(text)"}
