"""The columns that filter rules can name: those of a dataset's rows and of the tables derived from it.

In: a dataset. Out: columns by their names in SQL. A column of a derived table has two names: `dedup_keep`, and `keep`
unless that name is taken; the dataset's own columns come first, then dedup, similarity and classes. A short name that
the dataset's own column takes from a table is `shadowed`. Columns of other tables in `classes/` have the prefixed name
only: `brand_label`. Computed columns (`pipeline.curation.computed`) come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.computed import COMPUTED, ComputedColumn, computed_columns
from pipeline.curation.vectors import KEY
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.scan import RUN_DATE
from pipeline.errors import RunError, UsageError
from pipeline.scratch.workspace import widened
from pipeline.vocabulary import Signal

#: Whether a row's id is in the file of ids.
LISTED = "hanclip_listed"
#: The commands that make the tables, and the columns that each table has at least.
_MADE_BY = {"dedup": "dedup", "similarity": "similarity", "classes": "classify"}
_KNOWN = {
    "dedup": ("group", "group_size", "rung", "duplicate_of", "duplicate_in", "cosine", "bits", "keep"),
    "similarity": ("logit", "percentile", "chance"),
    "classes": ("label", "label_index", "probability", "margin"),
}


@dataclass(frozen=True, slots=True)
class FilterColumn:
    """A column that a rule may name.

    Attributes:
        name: in rules.
        table: a name in `FilterColumns.tables`, or empty for the dataset's own.
        source: its name in the table.
        type: of its values.
        computed: how it is computed; None for a stored column.
    """

    name: str
    table: str
    source: str
    type: pa.DataType
    computed: ComputedColumn | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The dataset's columns that it is made of."""
        if self.computed:
            return self.computed.needs
        return () if self.table else (self.source,)


@dataclass(frozen=True, slots=True)
class FilterColumns:
    """The columns of one dataset.

    Attributes:
        out: the dataset's URI.
        by_name: columns by lower-case name, since SQL ignores case.
        tables: the existing derived tables.
        alike: names that differ from another only in case, which SQL cannot distinguish.
        shadowed: names of the dataset's own columns that a table has too, and the table's name for its column.
    """

    out: str
    by_name: dict[str, FilterColumn] = field(default_factory=dict)
    tables: dict[str, pads.Dataset] = field(default_factory=dict)
    alike: set[str] = field(default_factory=set)
    shadowed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Dataset) -> FilterColumns:
        """The columns of `dataset` and its derived tables. Raises RunError, StorageError."""
        found = cls(dataset.uri)
        for column in dataset.identity.schema.append(RUN_DATE):
            name = column.name.lower()
            if name in found.by_name:
                found.alike.add(name)
            found.by_name.setdefault(name, FilterColumn(column.name, "", column.name, widened(column.type)))
        for name, uri in _tables(dataset.uri):
            table = _open(uri)
            if table is not None:
                found.tables[name] = table
                found._add(name, table.schema)
        for known in computed_columns(dataset.identity.own_columns.names, found.by_name):
            kind = pa.type_for_alias(known.type)
            found.by_name[known.name] = FilterColumn(known.name, "", known.name, kind, known)
        return found

    def _add(self, table: str, schema: pa.Schema) -> None:
        own = [column for column in schema if column.name not in KEY]
        for column in own:
            name = f"{table}_{column.name}"
            self.by_name.setdefault(name.lower(), FilterColumn(name, table, column.name, column.type))
        for column in own if table in _MADE_BY else ():
            taken = self.by_name.get(column.name.lower())
            if taken and not taken.table and column.name in _KNOWN[table]:
                self.shadowed[column.name.lower()] = f"{table}_{column.name}"
            self.by_name.setdefault(column.name.lower(), FilterColumn(column.name, table, column.name, column.type))

    @property
    def schema(self) -> pa.Schema:
        """Schema of all columns."""
        return pa.schema([(column.name, column.type) for column in self.by_name.values()])

    def find(self, name: str) -> FilterColumn | None:
        """The column of that name, ignoring case. Raises UsageError if two columns differ only in case."""
        if name.lower() in self.alike:
            raise UsageError(
                f"The dataset has two columns {name} that differ only in case, which SQL ignores: rename one in the "
                "source."
            )
        return self.by_name.get(name.lower())

    def cure(self, name: str) -> str | None:
        """How to get the column `name`; None if unknown."""
        for signal in Signal:
            if name.lower() == signal.column:
                return f"Embed into another OUT with --signals {signal}: this dataset was made without."
        for column in COMPUTED:
            if name.lower() == column.name:
                return f"It is computed from {' and '.join(column.needs)}, which this dataset does not have."
        for table, known in _KNOWN.items():
            plain = name.lower().removeprefix(f"{table}_")
            if plain in known:  # the table is missing, or of a version that lacked the column
                return f"Run `hanclip {_MADE_BY[table]} {self.out}` first."
        return None


def remake(out: str, table: str) -> str:
    """The command that updates a derived table."""
    return f"hanclip {_MADE_BY.get(table, 'classify')} {out}"


def _tables(out: str) -> Iterator[tuple[str, str]]:
    """Names and URIs of the derived tables; earlier ones take precedence for unprefixed names."""
    yield "dedup", layout.dedup_uri(out)
    yield "similarity", layout.similarity_uri(out)
    yield "classes", layout.classes_uri(out, "classes")
    for info in layout.objects(out, layout.CLASSES):
        name = storage.name(info.uri).removesuffix(".parquet")
        if info.uri.endswith(".parquet") and name not in _MADE_BY:
            yield name, info.uri


def _open(uri: str) -> pads.Dataset | None:
    if not storage.exists(uri):
        return None
    filesystem, path = storage.arrow_filesystem(uri)
    try:
        with storage.translated(uri):
            table = pads.dataset(path, filesystem=filesystem, format="parquet")
    except (pa.ArrowException, ValueError) as error:
        raise RunError(f"{uri} cannot be read ({error}): delete it and make it again.") from error
    if not set(KEY) <= set(table.schema.names):
        raise RunError(f"{uri} has no columns {' and '.join(KEY)}: delete it and make it again.")
    return table
