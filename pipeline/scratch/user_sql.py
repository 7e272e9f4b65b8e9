"""Validates user-supplied SQL and runs it in isolation.

In: text for an expression or an ORDER BY. Out: its syntax tree, or the reason why it is refused. The text
fills one slot of a query and must not break out of it: `1); COPY ... TO 'file'; SELECT (1` does. `locked` makes a
workspace whose queries reach neither files nor settings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.errors import ConfigError, RunError
from pipeline.scratch.quoting import quoted
from pipeline.scratch.workspace import Workspace, widened

#: DuckDB's message when a statement other than a query follows the first.
_OTHER_STATEMENT = "Only SELECT statements"
#: Text in quotes, which may hold any character.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"|(?<=‘)[^’]*|(?<=“)[^”]*")
#: What a keyboard for Chinese writes, and what SQL has for it: DuckDB takes the former for letters of names.
_ASCII_OF = {chr(0xFEE0 + code): chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isalnum()}
_ASCII_OF |= {"‘": "'", "’": "'", "“": "'", "”": "'", "。": ".", "、": ",", "≥": ">=", "≤": "<=", "≠": "<>"}
_REFUSED_IN_ORDER = {"SUBQUERY": "a query", "WINDOW": "a window", "STAR": "a star", "PARAMETER": "a parameter"}
#: What DuckDB takes as functions where no column has the name.
_CLOCKS = frozenset(
    {
        *("current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"),
        *("current_localtime", "current_localtimestamp", "current_user", "current_role", "session_user", "user"),
        *("current_catalog", "current_schema"),
    }
)
_FUNCTIONS = """
SELECT function_name, CASE WHEN bool_and(function_type = 'aggregate') THEN 'aggregate' ELSE 'scalar' END
FROM duckdb_functions() GROUP BY ALL
"""
_RESERVED = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
_UNSTEADY = """
WITH marked AS (
    SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability IN ('VOLATILE', 'CONSISTENT_WITHIN_QUERY')
)
SELECT function_name FROM marked
UNION SELECT f.function_name FROM duckdb_functions() AS f, marked
    WHERE f.macro_definition IS NOT NULL AND contains(lower(f.macro_definition), marked.function_name || '(')
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a query that user-supplied text may fill.

    Attributes:
        head, tail: the query around it. The tail starts on a new line, so that a comment in the text ends before it.
        example: text that fills it properly.
        field: the part of DuckDB's syntax tree that holds the text.
    """

    head: str
    tail: str
    example: str
    field: str


EXPRESSION = Slot("SELECT (\n", "\n)", "true", "select_list")
_ORDER = Slot("SELECT 1 ORDER BY ", "\n", "1", "modifiers")


@dataclass(frozen=True, slots=True)
class Parsed:
    """Parsed user-supplied text.

    Attributes:
        error: the parser's message; empty when it understood the text.
        location: where the error is, DuckDB's `[byte, length]` in the query, if known.
        escapes: the text is more than its slot holds: several expressions, another clause, another statement.
        parts: the syntax trees in the slot.
    """

    error: str = ""
    location: str | None = None
    escapes: bool = False
    parts: tuple[dict[str, Any], ...] = ()


def parse(sql: str, slot: Slot, work: Workspace) -> Parsed:
    """Parse the text of a slot. Nothing is run."""
    tree, example = _syntax(slot, sql, work), _syntax(slot, slot.example, work)
    if tree["error"]:
        message = f"{tree['error_message']}{wide_marks(sql)}"
        return Parsed(message, tree.get("location"), escapes=_OTHER_STATEMENT in message)
    parts = tree["statements"][0]["node"].get(slot.field, ())
    return Parsed(escapes=_frame(tree, slot) != _frame(example, slot), parts=tuple(parts))


def wide_marks(sql: str) -> str:
    """The end of a message about wrong SQL: which full-width marks it has outside of quotes, and what to write."""
    found = [mark for mark in dict.fromkeys(_QUOTED.sub("", sql)) if mark in _ASCII_OF]
    instead = " ".join(_ASCII_OF[mark] for mark in found)
    return f"; {' '.join(found)} {'are' if found[1:] else 'is'} no SQL: write {instead}" if found else ""


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every node of a syntax tree, or of several, however deep."""
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        below = part.values() if isinstance(part, dict) else part if isinstance(part, list | tuple) else ()
        waiting += reversed([*below])


def require_expression(sql: str, option: str, work: Workspace) -> None:
    """Raise ConfigError unless `sql`, the value of `option`, is a single expression. `work` only parses it."""
    if not sql.strip():
        raise ConfigError(f"{option} is empty: leave it out, or write a condition such as `similarity >= 0.28`.")
    found = parse(sql, EXPRESSION, work)
    if found.escapes:
        raise ConfigError(f"{option} {sql} is more than one expression: give one, without a semicolon.")
    if found.error:
        raise ConfigError(f"{option} {sql} is no SQL: {found.error}. Correct it.")


def require_order(sql: str, option: str, schema: pa.Schema) -> None:
    """Raise ConfigError unless `sql`, the value of `option`, orders rows of `schema` the same way every time."""
    with locked() as work:
        work.register("rows", pa.schema([(field.name, widened(field.type)) for field in schema]).empty_table())
        why = _order_problem(sql, work, {name.lower() for name in schema.names})
    if why:
        columns = ", ".join(schema.names)
        raise ConfigError(
            f"{option} {sql!r} is no ORDER BY over the columns {columns}: {why.rstrip('.!')}. Correct it."
        )


@dataclass(frozen=True, slots=True)
class SqlWords:
    """What names mean in DuckDB's SQL.

    Attributes:
        functions: the kind of each, aggregate or scalar.
        reserved: keywords that cannot be names of columns without quotes.
        unsteady: the functions whose result is not the same at every call, or at another time or place.
    """

    functions: Mapping[str, str]
    reserved: frozenset[str]
    unsteady: frozenset[str]

    @classmethod
    def known_to(cls, work: Workspace) -> SqlWords:
        """Those of the installed version, which are looked up once in a process."""
        if not _WORDS:
            functions = {str(name): str(kind) for name, kind in work.rows(_FUNCTIONS)}
            reserved = frozenset(str(name) for (name,) in work.rows(_RESERVED))
            unsteady = _CLOCKS | {str(name).lower() for (name,) in work.rows(_UNSTEADY)}
            _WORDS.append(cls(functions, reserved, unsteady))
        return _WORDS[0]


_WORDS: list[SqlWords] = []


def unsteady_name(part: dict[str, Any], unsteady: Container[str], columns: Container[str]) -> str:
    """The name of such a function in a node of a syntax tree, else empty; `columns` are lower-case names."""
    if part.get("class") == "COLUMN_REF":
        name = str(part["column_names"][-1]).lower()
        return name if len(part["column_names"]) == 1 and name in _CLOCKS and name not in columns else ""
    name = str(part.get("function_name", "")).lower()
    since_today = name == "age" and len(part.get("arguments", ())) == 1
    return name if since_today or name in unsteady else ""


def sorts_ascending(sql: str) -> bool:
    """Whether the first part of an ORDER BY sorts ascending without saying so."""
    with locked() as work:
        return bool(parse(sql, _ORDER, work).parts[0]["orders"][0]["type"] == "ORDER_DEFAULT")


def locked(json_errors: bool = False) -> Workspace:
    """A workspace whose queries reach what is registered in it, and neither files nor settings.

    `json_errors` is for `complaint`.
    """
    work = Workspace()
    for setting in (
        f"errors_as_json = {json_errors}",
        "enable_external_access = false",
        "python_enable_replacements = false",
        "lock_configuration = true",
    ):
        work.execute(f"SET {setting}")
    return work


def complaint(error: RunError) -> dict[str, Any]:
    """DuckDB's structured error from a workspace with `json_errors`; re-raises `error` if DuckDB did not cause it."""
    try:
        found: dict[str, Any] = json.loads(str(error.__cause__).partition(": ")[2])
    except ValueError:
        raise error from error.__cause__
    if not isinstance(error.__cause__, duckdb.Error):
        raise error
    return found


def _order_problem(sql: str, work: Workspace, columns: Container[str]) -> str:
    """Why `sql` cannot order the table `rows`; empty when it can."""
    found = parse(sql, _ORDER, work)
    if found.escapes:
        return "it is more than that"
    if found.error:
        return found.error
    unsteady = SqlWords.known_to(work).unsteady
    for part in nodes(found.parts):
        if part.get("class") in _REFUSED_IN_ORDER:
            return f"it holds {_REFUSED_IN_ORDER[part['class']]}"
        if name := unsteady_name(part, unsteady, columns):
            return f"{name} gives another value at every call, or at another time"
    try:
        work.rows(f"SELECT id, row_number() OVER (ORDER BY {sql}\n) FROM rows")
    except RunError as error:
        return str(error.__cause__).partition("\n")[0]
    return ""


def _syntax(slot: Slot, sql: str, work: Workspace) -> dict[str, Any]:
    """DuckDB's syntax tree of the query with `sql` in the slot, or its `error_message`."""
    [(text,)] = work.rows(f"SELECT json_serialize_sql({quoted(f'{slot.head}{sql}{slot.tail}')})")
    try:
        tree: dict[str, Any] = json.loads(text)
    except RecursionError:
        return {"error": True, "error_message": "it is nested too deeply"}
    return tree


def _frame(tree: dict[str, Any], slot: Slot) -> list[dict[str, Any]]:
    """All statements, with only the number of parts in the slot."""
    queries = (statement["node"] for statement in tree["statements"])
    return [{**query, slot.field: len(query.get(slot.field, ()))} for query in queries]
