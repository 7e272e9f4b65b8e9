"""The contract of a table file, and a table's columns by role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

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


#: Columns that records carry: their names in the table, and their names and types in the output.
Carrying = Sequence[tuple[str, pa.Field]]


class RowValues(NamedTuple):
    """The values of a row.

    Attributes:
        cells: role columns, as written.
        extra: carried columns, as `RawRecord.extra` holds them.
    """

    cells: Mapping[str, Any]
    extra: Mapping[str, Any]


class TableRow(Protocol):
    """One row, converted on demand."""

    def values(self, roles: Iterable[str], carried: Carrying) -> RowValues:
        """Its values, None where it has none; ValueError if a carried one does not fit its type."""


class TableFile(Protocol):
    """One file of a table."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns as carried; those of a text format fit the rows scanned so far."""

    @property
    def written(self) -> Mapping[str, pa.DataType]:
        """The types of its columns as written: nested values of JSON are lists and structs here, by its first rows."""

    def scan(self, names: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
        """Values of the columns `names`, some thousand rows at a time; SourceError at damage.

        Text that is not Unicode has surrogates, as with `surrogateescape`.
        """

    def rows(self, position: int, names: Sequence[str]) -> Iterator[CursorItem[TableRow]]:
        """Rows from `start_of(position)` on; closing the iterator closes the file."""

    def start_of(self, position: int) -> int:
        """The row where reading must start to reach row `position`."""

    def mean_bytes(self, name: str) -> int | None:
        """Mean size of a column's values in bytes; None if the file has no such statistics."""

    def close(self) -> None:
        """Close the file."""
