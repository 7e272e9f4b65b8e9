"""Chooses the row of each group to keep.

In: the members of all groups with their columns, and an order. Out: the first row of each group in that order; ties go
to the smaller id. A user-supplied order runs in a DuckDB that sees only these rows.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline.curation.dedup.rows import Indices, Rows
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.dataset.identity import Identity
from pipeline.dataset.scan import choose
from pipeline.errors import ConfigError, RunError
from pipeline.scratch.user_sql import locked, require_order
from pipeline.vocabulary import Keep

_ORDERS = {
    Keep.SIMILARITY: "similarity DESC NULLS LAST",
    Keep.LARGEST: "image_width::BIGINT * image_height DESC",
    Keep.FIRST: "id",
}
_NEEDED = {Keep.SIMILARITY: ("similarity",), Keep.LARGEST: ("image_width", "image_height"), Keep.FIRST: ()}
#: Columns added to those of the dataset. A dataset column of the same name cannot be used in an order.
_ADDED = ("row", "_group")
_KEPT = pa.schema([("_group", pa.int64()), ("row", pa.int64()), ("id", pa.string()), ("_name", pa.string())])


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
    if settings.keep_sql:
        names = [name for name in identity.schema.names if name not in (*identity.vector_columns, *_ADDED)]
        require_order(settings.keep_sql, "--keep-sql", choose(identity.schema, names))
        return names
    return list(_NEEDED[keep_of(settings, identity)])


def kept_rows(rows: Rows, members: Indices, groups: Indices, settings: DedupSettings, identity: Identity) -> pa.Table:
    """A table with, for each group (`_group`, ascending), the row to keep (`row`, `id`) and the smallest id (`_name`).

    Args:
        rows: the gathered rows.
        members: the rows that are in groups.
        groups: the group of each of them.
        settings: the rule.
        identity: of the dataset.

    Raises:
        ConfigError: DuckDB rejects the order.
    """
    order = settings.keep_sql or _ORDERS[keep_of(settings, identity)]
    rows.work.register("grouped", pa.table({"row": members, "_group": groups}))
    rows.work.store("members", "SELECT * FROM rows JOIN grouped USING (row)")
    with locked() as work:
        work.register("members", pads.dataset(rows.work.path("members.parquet"), format="parquet"))
        try:
            return pa.Table.from_batches(work.batches(_FIRST.format(order=order)), _KEPT)
        except RunError as error:
            raise ConfigError(
                f"--keep-sql {order!r} is not an ORDER BY over the columns {', '.join(rows.columns)}: "
                f"{error.__cause__}\nCorrect it."
            ) from error


_FIRST = """
SELECT _group, row, id, min(id) OVER (PARTITION BY _group) AS _name FROM members
QUALIFY row_number() OVER (PARTITION BY _group ORDER BY {order}
, id) = 1 ORDER BY _group
"""
