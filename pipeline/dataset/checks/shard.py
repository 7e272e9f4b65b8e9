"""Audits the files of one shard: footer against name and identity, row counts, norms and dot products of vectors.

In: an embeddings file. Out: an `Audit`. Every column is read to its end, a few thousand rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset.identity import Identity
from pipeline.dataset.layout import DataFile
from pipeline.dataset.shard_file import Footer, read_footer
from pipeline.errors import HanclipError

_BATCH_ROWS = 4096
#: Tolerances of a norm around 1, and of a similarity around the dot product of the stored (rounded) vectors.
_NORM_TOLERANCE = {"float32": 1e-3, "float16": 2e-3}
_SIMILARITY_TOLERANCE = {"float32": 1e-4, "float16": 2e-3}


@dataclass(frozen=True, slots=True)
class Audit:
    """The audit of one committed shard.

    Attributes:
        file: its embeddings file.
        quarantine: its quarantine file; None when no record failed.
        readable: both files can be read to their end.
        problems: what is wrong; each names the file.
        makers: what made its rows; None if its footer cannot be read.
    """

    file: DataFile
    quarantine: DataFile | None
    readable: bool
    problems: tuple[str, ...]
    makers: Mapping[str, str] | None = None


def audit(file: DataFile, candidates: list[DataFile], identity: Identity) -> Audit:
    """Audit one committed shard; `candidates` are the quarantine files of all its attempts."""
    quarantine = None
    try:
        footer = read_footer(file)
        quarantine = next((aside for aside in candidates if aside.attempt == footer.attempt), None)
        problems = [*_footer_problems(footer, file, identity), *_quarantine_problems(footer, quarantine)]
        same_columns = footer.schema.equals(identity.schema)
        if same_columns:
            problems += _vector_problems(file, identity)
    except HanclipError as error:
        return Audit(file, quarantine, False, (str(error),))
    except (pa.ArrowException, OSError) as error:
        cure = "Delete it and run the same command."
        return Audit(file, quarantine, False, (f"{file.uri} cannot be read to its end ({error}). {cure}",))
    named = tuple(f"{file.uri}: {problem}" for problem in problems)
    return Audit(file, quarantine, same_columns, named, footer.makers)


def _footer_problems(footer: Footer, file: DataFile, identity: Identity) -> Iterator[str]:
    if footer.shard_id != file.shard_id:
        yield f"holds shard {footer.shard_id}, not the shard in its name"
    if (footer.weights_sha256, footer.preprocessing) != (identity.weights_sha256, identity.preprocessing):
        yield "was made with other weights or preprocessing than the dataset"
    if not footer.schema.equals(identity.schema):
        yield f"has columns {_columns(footer.schema)}, the dataset has {_columns(identity.schema)}"
    if footer.rows != footer.rows_embedded:
        yield f"has {footer.rows} rows, its footer states {footer.rows_embedded}"
    if footer.rows_embedded + footer.rows_quarantined != footer.rows_planned:
        yield (
            f"has {footer.rows_embedded} embedded + {footer.rows_quarantined} quarantined records, not the "
            f"{footer.rows_planned} planned"
        )


def _quarantine_problems(footer: Footer, quarantine: DataFile | None) -> Iterator[str]:
    rows = 0
    if quarantine is not None:
        with storage.open_seekable(quarantine.uri) as source:
            rows = pq.ParquetFile(source, page_checksum_verification=True).read().num_rows
    if rows != footer.rows_quarantined:
        yield f"has {footer.rows_quarantined} quarantined records, but its quarantine file has {rows}"


def _vector_problems(file: DataFile, identity: Identity) -> Iterator[str]:
    found: dict[str, int] = {}
    with storage.open_seekable(file.uri) as source:
        for batch in pq.ParquetFile(source, page_checksum_verification=True).iter_batches(_BATCH_ROWS):
            for problem, rows in _batch_problems(batch, identity):
                found[problem] = found.get(problem, 0) + rows
    yield from (f"{problem} in {rows} rows" for problem, rows in found.items() if rows)


def _batch_problems(batch: pa.RecordBatch, identity: Identity) -> Iterator[tuple[str, int]]:
    norm_tolerance = _NORM_TOLERANCE[identity.embedding_dtype]
    vectors = {name: _matrix(batch[name], identity.dim) for name in identity.vector_columns}
    for name, matrix in vectors.items():
        present = batch[name].is_valid().to_numpy(zero_copy_only=False)
        norms = np.sqrt(np.einsum("ij,ij->i", matrix, matrix))
        finite = np.isfinite(norms)
        yield f"{name} is not finite", int((present & ~finite).sum())
        yield f"{name} does not have norm 1", int((present & finite & (np.abs(norms - 1) > norm_tolerance)).sum())
    if len(vectors) == 2:
        dot = np.einsum("ij,ij->i", vectors["image_embedding"], vectors["text_embedding"])
        stored = batch["similarity"].to_numpy(zero_copy_only=False)
        without_text = ~batch["text_embedding"].is_valid().to_numpy(zero_copy_only=False)
        close = np.abs(stored - dot) <= _SIMILARITY_TOLERANCE[identity.embedding_dtype]
        right = np.where(without_text, np.isnan(stored), close)
        yield "similarity is not the dot product of the vectors", int((~right).sum())


def _matrix(column: pa.FixedSizeListArray, dim: int) -> npt.NDArray[np.float32]:
    """(rows, dim) float32; NaN in rows without a vector."""
    matrix = np.full((len(column), dim), np.nan, np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    matrix[valid] = column.drop_null().flatten().to_numpy().reshape(-1, dim)
    return matrix


def _columns(schema: pa.Schema) -> list[str]:
    return [f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in schema]
