"""Refuse a `--keep-sql` that is no ORDER BY over one row's columns, or gives another order every time.

In: the text and the dataset's columns. Out: nothing, or the error that says why it is refused, before any row is read.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.errors import ConfigError, RunError
from pipeline.scratch.typed_sql import nodes, syntax
from pipeline.scratch.workspace import Workspace, widened

_REFUSED = {"SUBQUERY": "a query", "WINDOW": "a window", "STAR": "a star", "PARAMETER": "a parameter"}
_VOLATILE = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability = 'VOLATILE'"


def require_order(sql: str, schema: pa.Schema) -> None:
    """Raise ConfigError unless `sql` may stand behind ORDER BY in a query over rows of this `schema`."""
    with Workspace() as work:
        work.execute("SET enable_external_access = false")
        work.execute("SET python_enable_replacements = false")
        work.register("rows", pa.schema([(field.name, widened(field.type)) for field in schema]).empty_table())
        tree = _parsed(sql, work)
        if tree["error"]:
            raise _mistake(sql, schema, str(tree["error_message"]))
        if _frame(tree) != _frame(_parsed("1", work)):
            raise _mistake(sql, schema, "it is more than that")
        volatile = {name for (name,) in work.rows(_VOLATILE)}
        for part in nodes(tree["statements"][0]["node"]["modifiers"]):
            if part.get("class") in _REFUSED:
                raise _mistake(sql, schema, f"it holds {_REFUSED[part['class']]}")
            if (name := str(part.get("function_name", "")).lower()) in volatile:
                raise _mistake(sql, schema, f"{name} gives another value at every call")
        try:
            work.rows(f"SELECT id, row_number() OVER (ORDER BY {sql}\n) FROM rows")
        except RunError as error:
            raise _mistake(sql, schema, str(error.__cause__).partition("\n")[0]) from error


def _parsed(sql: str, work: Workspace) -> dict[str, Any]:
    return syntax(f"SELECT 1 ORDER BY {sql}\n", work)


def _frame(tree: dict[str, Any]) -> list[Any]:
    """All statements, without what they are ordered by."""
    nodes = [statement["node"] for statement in tree["statements"]]
    return [({**node, "modifiers": None}, [one["type"] for one in node["modifiers"]]) for node in nodes]


def _mistake(sql: str, schema: pa.Schema, why: str) -> ConfigError:
    return ConfigError(
        f"--keep-sql {sql!r} is no ORDER BY over the columns {', '.join(schema.names)}: {why.rstrip('.!')}. Correct it."
    )
