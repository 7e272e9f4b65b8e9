"""The source's own columns that records carry into the output: which, and their values.

Values of an Arrow source stay Arrow from the file to the output. Through Python, timestamps beyond the year 9999 and
nanoseconds would be lost, and each row would be slower. Those of JSON and CSV are Python scalars that become
Arrow once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pyarrow as pa

from pipeline.config import SourceConfig
from pipeline.errors import SourceError, did_you_mean
from pipeline.vocabulary import RESERVED_COLUMNS, Signal

#: The columns that hanclip writes to some dataset.
_OURS = frozenset({*RESERVED_COLUMNS, *(signal.column for signal in Signal)})


@dataclass(frozen=True, slots=True)
class Carried:
    """The columns to carry under their names in the output, and the names in the source of those renamed."""

    schema: pa.Schema
    renamed: Mapping[str, str]


def choose_extra(found: pa.Schema, config: SourceConfig) -> Carried:
    """The columns to carry: those that `--extra-column` names, else all of `found` but those of `--drop-column`.

    A column with a name that hanclip writes itself gets `source_` in front of it; `SourceSpec.with_own_names` takes it
    away for a dataset without such a column.

    Raises:
        SourceError: one named is missing.
    """
    _check_named(config.drop_columns or (), found, "--drop-column")
    _check_named(config.extra_columns or (), found, "--extra-column")
    kept = [field for field in found if _is_kept(field.name, config)]
    if config.extra_columns is not None:
        kept = [found.field(name) for name in config.extra_columns]
    renamed: dict[str, str] = {}
    fields = []
    for field in kept:
        name = field.name
        while name in _OURS or (name != field.name and name in found.names):
            name = f"source_{name}"
        renamed.update({name: field.name} if name != field.name else {})
        fields.append(pa.field(name, field.type))
    return Carried(pa.schema(fields), renamed)


def unite(known: pa.Schema, new: pa.Schema, config: SourceConfig, uri: str) -> pa.Schema:
    """The columns of several containers, each with a type that holds the values of all: numbers widen, any other
    mixture of plain values becomes text.

    Raises:
        SourceError: a column that will be carried has lists or structs in one and something else in another.
    """
    kinds = {field.name: field.type for field in known}
    for field in new:
        old = kinds.get(field.name, field.type)
        kinds[field.name] = _wider(old, field.type)
        if kinds[field.name] is None:
            kinds[field.name] = old
            if _is_kept(field.name, config):
                raise SourceError(
                    f"The column {field.name} of {uri} holds {field.type}, and {old} in other files. Give it one type, "
                    "or leave it out with --drop-column."
                )
    return pa.schema(list(kinds.items()))


def _wider(old: pa.DataType, new: pa.DataType) -> pa.DataType | None:
    if old.equals(new):
        return old
    try:
        both = (pa.schema([("", old)]), pa.schema([("", new)]))
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string() if is_plain(old) and is_plain(new) else None


def is_plain(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts, numbers, Booleans or points in time, which all can be text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
    return not (pa.types.is_nested(kind) or binary or pa.types.is_fixed_size_binary(kind))


def _is_kept(name: str, config: SourceConfig) -> bool:
    return name not in (config.drop_columns or ()) and (config.extra_columns is None or name in config.extra_columns)


def _check_named(names: Sequence[str], found: pa.Schema, option: str) -> None:
    missing = sorted(set(names) - set(found.names))
    if missing:
        raise SourceError(
            f"The source has no column {', '.join(missing)}; it has {', '.join(found.names) or 'none'}. "
            f"{''.join(did_you_mean(name, found.names) for name in missing)}Correct {option}."
        )


class ArrowRow(Mapping[str, Any]):
    """One row of a batch of carried columns, by name; `gather` copies it without going through Python values."""

    __slots__ = ("batch", "place")

    def __init__(self, batch: pa.RecordBatch, place: int) -> None:
        self.batch, self.place = batch, place

    def __getitem__(self, name: str) -> Any:
        return self.batch.column(name)[self.place].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self.batch.schema.names)

    def __len__(self) -> int:
        return int(self.batch.num_columns)


def gather(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Carried values of several records as a table of `schema`; an `ArrowRow` must have its columns, in order."""
    if not len(schema):
        return schema.empty_table()
    batches: list[pa.RecordBatch] = []
    for batch, group in groupby(rows, key=lambda row: row.batch if isinstance(row, ArrowRow) else None):
        some = list(group)
        if batch is None:
            batches.append(pa.RecordBatch.from_pylist(some, schema=schema))
        else:
            batches += [pa.record_batch(part.columns, schema=schema) for part in _slices(batch, some)]
    # A copy, since a slice would drag the whole batch along. `take` cannot copy every type.
    return pa.Table.from_batches([pa.concat_batches(batches)] if batches else [], schema)


def _slices(batch: pa.RecordBatch, rows: Sequence[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """The rows of one batch, as few slices as possible."""
    places = [row.place for row in rows if isinstance(row, ArrowRow)]
    for _, run in groupby(enumerate(places), key=lambda pair: pair[1] - pair[0]):
        consecutive = [place for _, place in run]
        yield batch.slice(consecutive[0], len(consecutive))
