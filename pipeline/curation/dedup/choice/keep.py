"""Orders the rows of each group: the first of them stays.

In: the members of all groups with their columns, and a rule. Out: the members in keep order, those that an earlier run
kept first. A user-supplied order runs in a DuckDB that sees only these rows.

Similarity decides only beyond `--keep-margin`: versions of one picture differ by less, for reasons that say nothing of
their quality. Then come pixels, encoded bytes, the format, the date of the run, and the id.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline.curation.computed import FORMAT, ComputedColumn, computed_columns
from pipeline.curation.dedup.rows import Indices, Rows, usable
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset.identity import Identity
from pipeline.dataset.scan import RUN_DATE, choose
from pipeline.errors import ConfigError, RunError
from pipeline.scratch.user_sql import locked, require_order
from pipeline.vocabulary import Keep

_PIXELS = ("image_width", "image_height")
_NEEDED = {Keep.SIMILARITY: ("similarity",), Keep.LARGEST: _PIXELS, Keep.FIRST: ()}
#: What decides between rows that the rule calls equal, and the column that each needs.
_NEXT = {
    "image_width": "image_width::BIGINT * image_height DESC",
    "image_bytes": "image_bytes DESC NULLS LAST",
    FORMAT: f"array_position(['png', 'tiff', 'bmp', 'jpeg', 'webp', 'avif', 'heic', 'gif'], {FORMAT}) NULLS LAST",
    RUN_DATE.name: RUN_DATE.name,
}
_ORDERED = pa.schema([("_group", pa.int64()), ("row", pa.int64()), ("id", pa.string()), ("_kept", pa.bool_())])


def keep_of(settings: DedupSettings, identity: Identity) -> Keep:
    """The rule of the settings; by default the first that the dataset supports. Raises ConfigError."""
    if settings.keep is None:
        return next(keep for keep in Keep if set(_NEEDED[keep]) <= set(identity.schema.names))
    missing = sorted(set(_NEEDED[settings.keep]) - set(identity.schema.names))
    if missing:
        raise ConfigError(f"--keep {settings.keep} needs {' and '.join(missing)}, which the dataset lacks.")
    return settings.keep


def needed_columns(settings: DedupSettings, identity: Identity) -> list[str]:
    """The columns that the order may use; for an order in SQL, all but the vectors. Raises ConfigError."""
    stored = identity.schema.append(RUN_DATE)
    if settings.keep_sql:
        names = [name for name in usable(stored) if name not in identity.vector_columns]
        known = choose(stored, names)
        computed = [(column.name, pa.type_for_alias(column.type)) for column in _computed(known, identity)]
        require_order(settings.keep_sql, "--keep-sql", pa.schema([*known, *pa.schema(computed)]))
        return names
    keep = keep_of(settings, identity)
    if keep is Keep.FIRST:
        return []
    names = [*_NEEDED[keep], *_PIXELS, "image_bytes", "image_uri", RUN_DATE.name]
    return [name for name in dict.fromkeys(names) if name in stored.names]


def in_keep_order(
    rows: Rows, members: Indices, groups: Indices, settings: DedupSettings, identity: Identity
) -> pa.Table:
    """The members of all groups by `_group`, in keep order: `row`, `id`, and whether an earlier run `_kept` it.

    Args:
        rows: the gathered rows, with the table `earlier`.
        members: the rows that are in groups.
        groups: the group of each of them.
        settings: the rule.
        identity: of the dataset.

    Raises:
        ConfigError: DuckDB rejects the order.
    """
    order = settings.keep_sql or ", ".join(_order(rows, settings, identity))
    named = order.lower()
    computed = [column for column in _computed(rows.schema, identity) if column.name in named]
    derived = "".join(f", {column.sql} AS {column.name}" for column in computed)
    best = ", max(similarity) OVER (PARTITION BY _group) AS _best" if "similarity" in rows.schema.names else ""
    rows.work.register("grouped", pa.table({"row": members, "_group": groups}))
    rows.work.store(
        "members",
        f"SELECT rows.*, _group, coalesce(_kept, false) AS _kept, _name{derived}{best} "
        "FROM rows JOIN grouped USING (row) LEFT JOIN earlier USING (row)",
    )
    with locked() as work:
        work.register("members", pads.dataset(rows.work.path("members.parquet"), format="parquet"))
        try:
            return pa.Table.from_batches(work.batches(_IN_ORDER.format(order=order)), _ORDERED)
        except RunError as error:
            if not settings.keep_sql:
                raise
            raise ConfigError(
                f"--keep-sql {order!r} is not an ORDER BY over the columns {', '.join(rows.schema.names)}: "
                f"{error.__cause__}\nCorrect it."
            ) from error


def _order(rows: Rows, settings: DedupSettings, identity: Identity) -> Sequence[str]:
    keep = keep_of(settings, identity)
    if keep is Keep.FIRST:
        return ["id"]
    # The source's columns of these names, such as `format`, mean what they like.
    own = {*rows.schema.names} - {*identity.extra.names}
    known = own | {column.name for column in _computed(rows.schema, identity)}
    then = [sql for needed, sql in _NEXT.items() if needed in known]
    if keep is Keep.LARGEST:
        return then
    margin = settings.keep_margin
    return [f"floor((_best - similarity) / {margin!r}) NULLS LAST" if margin else "similarity DESC NULLS LAST", *then]


def _computed(stored: pa.Schema, identity: Identity) -> list[ComputedColumn]:
    own = {*stored.names} - {*identity.extra.names}
    found = computed_columns(own, {name.lower() for name in stored.names})
    return [column for column in found if not column.of_all_rows]


_IN_ORDER = """
SELECT _group, row, id, _kept FROM members ORDER BY _group, _kept DESC, {order}
, id, row
"""
