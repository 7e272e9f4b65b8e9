"""Is it one SQL expression? What a person typed is put between brackets, and must not find its way out of them.

In: text that stands for a value or a condition. Out: nothing, or the error that says why it is refused. `syntax` and
`nodes` are for whoever looks closer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pipeline.errors import ConfigError
from pipeline.scratch.workspace import Workspace

#: What DuckDB says where a statement that is no query comes behind the first.
_OTHER_STATEMENT = "Only SELECT statements"


def require_expression(sql: str, option: str, work: Workspace) -> None:
    """Refuse what is empty, or more than one expression, such as `1); COPY ... TO 'file'; SELECT (1`.

    Args:
        sql: as typed.
        option: as which, for the error.
        work: parses it; nothing is run.

    Raises:
        ConfigError: it is no single expression.
    """
    if not sql.strip():
        raise ConfigError(f"{option} is empty: leave it out, or write a condition such as `similarity >= 0.28`.")
    found, plain = _statements(sql, work), _statements("true", work)
    told = str(found.get("error_message", ""))
    if told and _OTHER_STATEMENT not in told:
        raise ConfigError(f"{option} {sql} is no SQL: {told}. Correct it.")
    if told or _frame(found) != _frame(plain) or len(found["statements"][0]["node"]["select_list"]) != 1:
        raise ConfigError(f"{option} {sql} is more than one expression: give one, without a semicolon.")


def syntax(query: str, work: Workspace) -> dict[str, Any]:
    """What DuckDB's parser makes of a query, or its complaint (`error_message`). Nothing is run."""
    quoted = query.replace("'", "''")
    [(text,)] = work.rows(f"SELECT json_serialize_sql('{quoted}')")
    tree: dict[str, Any] = json.loads(text)
    return tree


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node in a part of what `syntax` gives."""
    if isinstance(tree, dict):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from nodes(below)


def _statements(sql: str, work: Workspace) -> dict[str, Any]:
    return syntax(f"SELECT (\n{sql}\n)", work)


def _frame(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """All statements, without what they select."""
    queries = (statement["node"] for statement in tree["statements"])
    return [{key: value for key, value in query.items() if key != "select_list"} for query in queries]
