"""The contract of a table file, and a table's columns by role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pipeline.sources.cursor import CursorItem


@dataclass(frozen=True, slots=True)
class TableColumns:
    """Names of columns by role; None for a role that no column has. `SourceSpec.details` of a table.

    Attributes:
        image_is_uri: the image column holds URIs, not bytes.
        one_host: all of them are on one http(s) host, which is then a store like a bucket.
    """

    id: str | None
    image: str | None
    image_is_uri: bool
    text: str | None
    fingerprint: str | None
    one_host: bool = False


class TableRow(Protocol):
    """One row, converted to Python values on demand."""

    def values(self, wanted: pa.Schema) -> Mapping[str, Any]:
        """The columns of `wanted` in those types, None where the row has none; ValueError if a value does not fit."""


class TableFile(Protocol):
    """One file of a table."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns; those of a text format fit the rows scanned so far."""

    def scan(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Values of the columns `names`, some thousand rows at a time; SourceError at damage."""

    def rows(self, position: int, names: Sequence[str]) -> Iterator[CursorItem[TableRow]]:
        """Rows from `start_of(position)` on; closing the iterator closes the file."""

    def start_of(self, position: int) -> int:
        """The row where reading must start to reach row `position`."""

    def mean_bytes(self, name: str) -> int | None:
        """Mean size of a column's values in bytes; None if the file has no such statistics."""

    def close(self) -> None:
        """Close the file."""
