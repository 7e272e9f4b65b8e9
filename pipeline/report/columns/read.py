"""Describes the columns of a dataset: the source's own, and text, size, format and date.

In: a dataset. Out: a profile of each column and of its parts. Up to a million rows are copied to the scratch folder and
described exactly. Of more, one pass over all rows counts nulls and estimates distinct values, and the rest is from a
million rows, spread evenly. One column is queried at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.computed import SUFFIX
from pipeline.dataset.scan import RUN_DATE
from pipeline.report.columns.measure import COMPARED, describe
from pipeline.report.columns.parts import Part, is_bytes, kind_of
from pipeline.report.columns.profile import ColumnProfile, ValueKind
from pipeline.report.material import Material
from pipeline.scratch.spool import Spool
from pipeline.scratch.workspace import Workspace, widened

WHOLE_ROWS = 1_000_000
#: Columns and parts that are described; a page must not grow with the source.
MOST_PARTS = 400
_ROW = "row"
#: Columns in one file: a query reads the description of all columns of its file.
_TOGETHER = 16
#: The format of an image, from its address. The source may have a column of this name.
_FORMAT = pa.field("image_format", pa.string())
_MADE = ("text", "image_width", "image_height", "image_uri", RUN_DATE.name)


@dataclass(frozen=True, slots=True)
class ColumnProfiles:
    """The profiles; `sampled` of `rows` rows were described in detail, and `left_out` columns were not at all."""

    columns: list[ColumnProfile]
    rows: int
    sampled: int
    left_out: int


def column_profiles(material: Material, whole_rows: int = WHOLE_ROWS) -> ColumnProfiles:
    """Profiles of the columns of the current rows."""
    fields = _fields(material)
    chosen = fields[:MOST_PARTS]
    material.on_phase(f"reading {len(chosen):,} columns", 0, None)
    whole = material.rows <= whole_rows
    sample = "SELECT place FROM rows" if whole else material.current.sample(whole_rows)
    sampled = _store(material, chosen, sample)
    totals = {} if whole else _totals(material, chosen)
    described = (_described(material, number, field, totals) for number, field in enumerate(chosen))
    profiles = list(islice((one for some in described for one in some), MOST_PARTS))
    seen = len({(profile.own, profile.path[0]) for profile in profiles})
    return ColumnProfiles(profiles, material.rows, sampled, len(fields) - seen)


def _fields(material: Material) -> list[pa.Field]:
    """The source's own columns, then those that hanclip made; the format stands for the address of an image."""
    identity = material.dataset.identity
    made = [name for name in _MADE if material.has(name) or name == RUN_DATE.name]
    own = [identity.schema.field(name) for name in identity.extra.names]
    known = [RUN_DATE if name == RUN_DATE.name else identity.schema.field(name) for name in made]
    return [*own, *(_FORMAT if one.name == "image_uri" else one for one in known)]


def _described(
    material: Material, number: int, field: pa.Field, totals: dict[int, tuple[int, int, int]]
) -> Iterator[ColumnProfile]:
    own = number < len(material.dataset.identity.extra)
    material.on_phase(f"describing column {number + 1:,}", 0, None)
    part = Part((field.name,), field.type, _table(number), f"c{number}")
    for profile in describe(material.work, part, own):
        if not totals:
            yield profile
        elif len(profile.path) > 1 or number not in totals:
            yield replace(profile, sampled=profile.rows)
        else:
            rows, filled, distinct = totals[number]
            counted = replace(profile, rows=rows, nulls=rows - filled, sampled=profile.rows)
            compared = profile.distinct is not None
            yield replace(counted, distinct=min(distinct, filled), distinct_exact=False) if compared else counted


def _store(material: Material, fields: list[pa.Field], places: str) -> int:
    """Store the columns under numbers in the scratch folder, a few to a file; returns the number of rows."""
    row = pa.field(_ROW, pa.int64())
    with ExitStack() as opened:
        spools = [
            opened.enter_context(Spool(material.work, _table(first), _stored(fields, first, row)))
            for first in range(0, len(fields), _TOGETHER)
        ]
        for table in _read(material, fields, places):
            for spool in spools:
                spool.add(table)
    return spools[0].rows


def _table(number: int) -> str:
    """The table with the column of this number."""
    return f"described_{number // _TOGETHER}"


def _totals(material: Material, fields: list[pa.Field]) -> dict[int, tuple[int, int, int]]:
    """Rows, rows with a value and estimated distinct values of each column, from one pass over all rows."""
    schema = pa.schema([(f"c{number}", _counted_as(field)) for number, field in enumerate(fields)])
    tables = _read(material, fields, "SELECT place FROM rows")
    batches = (batch for table in tables for batch in _counted(table, schema).to_batches())
    counts = [f"count(c{number}), approx_count_distinct(c{number})" for number in range(len(fields))]
    with Workspace() as work:  # the other one's connection selects the rows meanwhile
        work.register("all_rows", pa.RecordBatchReader.from_batches(schema, batches))
        [(rows, *found)] = work.rows(f"SELECT count(*), {', '.join(counts)} FROM all_rows")
    return {n: (int(rows), int(found[2 * n]), int(found[2 * n + 1])) for n in range(len(fields))}


def _counted_as(field: pa.Field) -> pa.DataType:
    """A type that DuckDB reads from Arrow: text for rare ones; only whether there is a value, if none are compared."""
    kind = kind_of(field.type)
    if kind not in COMPARED:
        return pa.bool_()
    rare = pa.types.is_decimal256(field.type) or isinstance(field.type, pa.BaseExtensionType)
    return pa.string() if kind == ValueKind.TEXT or rare else widened(field.type)


def _counted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for place, field in enumerate(schema):
        column = table.column(place)
        if pa.types.is_boolean(field.type):
            column = pc.if_else(column.is_valid(), True, None) if not pa.types.is_boolean(column.type) else column
        columns.append(column)
    return pa.table(columns, names=schema.names).cast(schema)


def _stored(fields: list[pa.Field], first: int, *more: pa.Field) -> pa.Schema:
    """The schema of the columns of one file under their numbers; bytes are stored as their lengths."""
    some = list(enumerate(fields))[first : first + _TOGETHER]
    return pa.schema([*((f"c{number}", _kept_as(field)) for number, field in some), *more])


def _kept_as(field: pa.Field) -> pa.DataType:
    return pa.int64() if is_bytes(field.type) else field.type


def _read(material: Material, fields: list[pa.Field], places: str) -> Iterable[pa.Table]:
    names = ["image_uri" if field is _FORMAT else field.name for field in fields]
    schema = pa.schema([(f"c{number}", _kept_as(field)) for number, field in enumerate(fields)])
    for table in material.current.read(names, places):
        columns = [_column(table, field) for field in fields]
        yield pa.table(columns, names=schema.names).cast(schema)


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field is _FORMAT:
        suffix = pc.extract_regex(pc.utf8_lower(table["image_uri"]), SUFFIX)
        return pc.utf8_upper(pc.struct_field(suffix, "suffix"))
    column = table[field.name]
    return pc.binary_length(column) if is_bytes(field.type) else column
