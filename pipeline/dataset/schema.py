"""The Arrow schemas of embeddings, quarantine and tombstone files, and the rows of quarantine.

`docs/data-format.md` documents the columns; a test keeps the two in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.records import Failure
from pipeline.vocabulary import FORMAT_VERSION, Signal

#: Characters of `detail` that are stored: a decoder or a store may report pages.
_DETAIL_CHARACTERS = 500
#: The version in which a column came.
_SINCE = {"image_blank_rows": 2, "image_bytes": 3}

QUARANTINE = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image_uri", pa.string()),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("attempts", pa.int32(), nullable=False),
        pa.field("source_fingerprint", pa.string(), nullable=False),
    ]
)

#: Changes in the presence of known ids, found by listing the whole catalog: gone, without a fingerprint; or back in an
#: earlier state, with that state's fingerprint.
TOMBSTONES = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source_fingerprint", pa.string()),
        pa.field("gone", pa.bool_(), nullable=False),
    ]
)


def quarantine_row(
    id_: str, image_uri: str | None, source_fingerprint: str, failure: Failure, attempts: int
) -> dict[str, Any]:
    """A row of `QUARANTINE` for a record that failed on its `attempts`-th attempt."""
    return {
        "id": id_,
        "source_fingerprint": source_fingerprint,
        "image_uri": image_uri,
        "stage": str(failure.stage),
        "reason": str(failure.reason),
        "detail": failure.detail[:_DETAIL_CHARACTERS],
        "attempts": attempts,
    }


@dataclass(frozen=True, slots=True)
class OwnColumns:
    """The columns that hanclip writes to a dataset, besides those of its source.

    Attributes:
        has_images: there are images; without them there are no image columns.
        has_texts: there are texts; without them there are no text columns.
        signals: what is measured of images, names of `Signal`.
        format_version: of the dataset. Columns that came later are never added: readers expect the same in every file.
    """

    has_images: bool
    has_texts: bool
    signals: tuple[str, ...] = ()
    format_version: int = FORMAT_VERSION

    @property
    def decoded(self) -> pa.Schema:
        """What decoders find in a record, before vectors are made."""
        fields = [pa.field("id", pa.string(), nullable=False)]
        fields.append(pa.field("source_fingerprint", pa.string(), nullable=False))
        if self.has_images:
            fields += self._of_images()
        if self.has_texts:
            fields.append(pa.field("text", pa.string()))
        return pa.schema(fields)

    def embedded(self, dim: int, embedding_dtype: pa.DataType | None = None) -> pa.Schema:
        """The columns of the embeddings files.

        Args:
            dim: length D of a vector.
            embedding_dtype: element type of a vector; float32 by default.
        """
        vector = pa.list_(pa.field("item", embedding_dtype or pa.float32(), nullable=False), dim)
        id_, fingerprint, *found = self.decoded
        fields = [id_, *found]
        if self.has_images:
            fields.append(pa.field("image_embedding", vector, nullable=False))
        if self.has_texts:
            fields.append(pa.field("text_embedding", vector))
        if self.has_images and self.has_texts:
            fields.append(pa.field("similarity", pa.float32()))
        return pa.schema([*fields, fingerprint])

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.embedded(1).names)

    @property
    def absent(self) -> frozenset[str]:
        """Names that hanclip uses in other datasets and not in this one, where they are free for the source's."""
        later = {name for name, version in _SINCE.items() if version > self.format_version}
        return frozenset(later | {signal.column for signal in Signal if signal not in self.signals})

    def _of_images(self) -> Iterator[pa.Field]:
        newest = (
            pa.field("image_uri", pa.string()),
            pa.field("image_sha256", pa.string(), nullable=False),
            pa.field("image_phash", pa.uint64(), nullable=False),
            pa.field("image_pixels_xxh128", pa.string(), nullable=False),
            pa.field("image_width", pa.int32(), nullable=False),
            pa.field("image_height", pa.int32(), nullable=False),
            pa.field("image_blank_rows", pa.float32()),
            pa.field("image_bytes", pa.int64()),
            *(pa.field(signal.column, pa.float32()) for signal in Signal),
        )
        return (column for column in newest if column.name not in self.absent)


def conform(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """`table` with the columns, order and types of `wanted`. Raises ArrowException where a value does not fit.

    Arrow reads the elements of a null vector as nulls and then rejects them as non-nullable, although it wrote them so.
    """
    columns = [_conformed(table[field.name], field.type) for field in wanted]
    for field, column in zip(wanted, columns, strict=True):
        if column.null_count and not field.nullable:
            raise pa.ArrowInvalid(f"the column {field.name} has {column.null_count:,} nulls and must have none")
    return pa.Table.from_arrays(columns, schema=wanted)


def _conformed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not (pa.types.is_fixed_size_list(kind) and column.null_count) or kind.value_field.nullable:
        return column.cast(kind)  # also lists of a fixed length that a source has: their elements may be text or null
    return pa.chunked_array([_vectors(chunk, kind) for chunk in column.chunks], kind)


def _vectors(chunk: pa.FixedSizeListArray, kind: pa.FixedSizeListType) -> pa.FixedSizeListArray:
    size = kind.list_size
    elements = chunk.values.slice(chunk.offset * size, len(chunk) * size)
    return pa.FixedSizeListArray.from_arrays(
        elements.fill_null(0).cast(kind.value_type), type=kind, mask=chunk.is_null()
    )
