"""Reads and checks the rules of a filter: SQL expressions that are true for the rows to keep.

In: an expression, or a YAML file of named ones. Out: checked rules: each a single boolean expression in DuckDB's SQL
over the columns of one row. A mistake is reported with its position. A rule can reach nothing but the columns: it has
no query and no aggregate, and the connection has no access to files.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.curation.filter.columns import FilterColumn, FilterColumns
from pipeline.errors import RunError, UsageError, did_you_mean
from pipeline.scratch.quoting import quoted_name
from pipeline.scratch.user_sql import EXPRESSION, SqlWords, complaint, nodes, parse, unsteady_name, wide_marks
from pipeline.scratch.workspace import Workspace
from pipeline.validation import validated
from pipeline.yaml_text import read_yaml

#: One bit per rule in an int64.
MOST_RULES = 62
#: For a rule without rows: DuckDB computes what depends on no column, such as the sum of a long range.
_CHECK_S = 20.0
WHERE, IDS = "where", "ids"
#: The queries around a rule; they continue on a new line, so that a comment in the rule ends before.
_RUN = f"CREATE OR REPLACE TEMP TABLE hanclip_result AS {EXPRESSION.head}"
_PLAIN_NAME = re.compile(r"[^\W\d]\w*")
_EXAMPLE = 'Write:\nrules:\n  matching: "similarity >= 0.28"\n  large: "image_width >= 200"'
_PASS = "SELECT true FROM rows WHERE (\n"
_ALONE = {
    "SUBQUERY": "a rule is about the columns of one row, so it holds no query",
    "WINDOW": "a rule is about one row at a time, so it holds no window",
    "STAR": "name the columns one by one",
    "PARAMETER": "a rule has no parameters",
    "POSITIONAL_REFERENCE": "name the columns by their names",
    "DEFAULT": "a rule has no defaults",
}


@dataclass(frozen=True, slots=True)
class FilterRule:
    """A row passes if `sql` is true.

    Attributes:
        name: in the counts.
        sql: the condition.
        columns: the columns that it names.
        ids: what the column `LISTED` is about, if it names that.
    """

    name: str
    sql: str
    columns: tuple[FilterColumn, ...] = ()
    ids: pa.Array | None = None


class RulesFile(BaseModel):
    """The YAML file: `rules:` with named expressions, in the order in which they count as the first to drop a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: dict[str, str] = Field(min_length=1, description="Expressions in DuckDB's SQL by the name of the rule.")


def read_rules(path: Path) -> list[FilterRule]:
    """The rules of a YAML file, not yet checked. Raises ConfigError."""
    file = read_yaml(path, "Correct --rules.")
    found = validated(RulesFile, file.tree, f"{path} is not a valid file of rules", cure=_EXAMPLE, label=file.label)
    return [FilterRule(name, sql) for name, sql in found.rules.items()]


class Checker:
    """Checks rules against the available columns, without rows.

    Args:
        work: a `locked` workspace.
        columns: the columns.
        limit_s: evaluating a rule may take this long; without rows never longer than some seconds.
    """

    def __init__(self, work: Workspace, columns: FilterColumns, limit_s: float = math.inf) -> None:
        self._work, self._columns, self._limit_s = work, columns, limit_s
        work.register("rows", columns.schema.empty_table())
        self._words = SqlWords.known_to(work)

    def check(self, rules: list[FilterRule]) -> list[FilterRule]:
        """The same rules, with their columns. Raises UsageError: a name is used twice, or an expression is wrong."""
        if len(rules) > MOST_RULES:
            raise UsageError(f"{len(rules)} rules are more than the limit of {MOST_RULES}: join some with `and`.")
        names = [rule.name for rule in rules]
        if any(not name.strip() for name in names):
            raise UsageError("A rule has no name: give it one, since the counts are by name.")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(f"More than one rule is named {twice[0]}: rename one.")
        return [self._checked(rule) for rule in rules]

    def _checked(self, rule: FilterRule) -> FilterRule:
        if not rule.sql.strip():
            raise UsageError(f"The rule {rule.name} is empty: write a condition, such as `similarity >= 0.28`.")
        found = parse(rule.sql, EXPRESSION, self._work)
        if found.error:
            raise mistake(rule, found.error, found.location, self._to_quote(rule))
        if len(found.parts) > 1:
            raise mistake(rule, "these are several expressions; join them with `and`", None)
        if found.escapes:
            raise mistake(rule, "it is not a single expression", None)
        columns: dict[str, FilterColumn] = {}
        for part in nodes(found.parts):
            self._refuse(rule, part)
            column = self._columns.find(_name(part)) if part.get("class") == "COLUMN_REF" else None
            if column is None and [name.lower() for name in part.get("column_names") or ()] == ["rows"]:
                raise mistake(rule, _ALONE["STAR"], _place(part))
            columns |= {column.name: column} if column else {}
        slow = UsageError(f"The rule {rule.name} takes too long even without rows: simplify it.")
        with self._work.within(min(_CHECK_S, self._limit_s), slow):
            self._bind(rule)
        return FilterRule(rule.name, rule.sql, tuple(columns.values()))

    def _refuse(self, rule: FilterRule, part: dict[str, Any]) -> None:
        """Raise UsageError for syntax that is not a function of one row."""
        place = _place(part)
        names = [name.lower() for name in part.get("column_names") or ()]
        if names and names[0] in self._columns.shadowed:
            table = self._columns.shadowed[names[0]]
            cure = f"Write rows.{names[0]} for the column of your source, or {table} for that of the table."
            raise mistake(rule, f"{names[0]} is a column of your source and of a table of hanclip", place, cure)
        if part.get("subquery_type") == "ANY":
            cure = "List the values, or for a column that is a list write list_contains(tags, '红')."
            raise mistake(rule, _ALONE["SUBQUERY"], place, cure)
        if part.get("class") in _ALONE:
            raise mistake(rule, _ALONE[part["class"]], place)
        kind = self._words.functions.get(str(part.get("function_name", "")).lower())
        if kind == "aggregate":
            raise mistake(rule, f"{part['function_name']} is an aggregate over many rows; a rule is about one", place)
        if name := unsteady_name(part, self._words.unsteady, self._columns.by_name):
            raise mistake(rule, f"{name} returns another value at every call, or at another time", place)

    def _bind(self, rule: FilterRule) -> None:
        self.run(rule, "rows")
        [(_, kind, *_)] = self._work.rows("DESCRIBE hanclip_result")
        if kind != "BOOLEAN":
            raise mistake(rule, f"it gives {kind}, not true or false; compare it with a value", None)
        # A macro may hide an aggregate, or a function that returns several rows.
        self._execute(rule, _PASS, "\n)")

    def _to_quote(self, rule: FilterRule) -> str:
        """A hint if the rule seems to name a column whose name needs double quotes, without them."""
        text = rule.sql.lower()
        for column in self._columns.by_name.values():
            name = column.name.lower()
            keyword = name in self._words.reserved and re.search(rf"(?<![\w\"'.]){re.escape(name)}(?![\w\"'(])", text)
            odd = not _PLAIN_NAME.fullmatch(name) and name in text
            if (odd or keyword) and f'"{name}"' not in text:
                return f"If you mean the column {column.name}, write it in double quotes: {quoted_name(column.name)}."
        return ""

    def run(self, rule: FilterRule, rows: str) -> None:
        """Evaluate a rule over all `rows`, a table or a query in brackets. Raises UsageError if it fails."""
        self._execute(rule, _RUN, f"\n) AS result FROM {rows} AS rows")

    def _execute(self, rule: FilterRule, head: str, tail: str) -> None:
        try:
            self._work.execute(f"{head}{rule.sql}{tail}")
        except RunError as error:
            raise self._translated(rule, error, head) from error

    def _translated(self, rule: FilterRule, error: RunError, head: str) -> UsageError:
        """DuckDB's error, with its position in the rule."""
        found = complaint(error)
        marks = wide_marks(rule.sql)
        message = str(found["exception_message"]).partition("\n")[0] + marks
        if found.get("error_subtype") != "COLUMN_NOT_FOUND":
            hint = str(found["exception_message"]).partition("\n")[2].replace('"', "").strip()
            return mistake(rule, message, found.get("location"), self._to_quote(rule) or hint, head)
        name = str(found["name"])
        if quote := self._to_quote(rule):
            return mistake(rule, f"there is no column {name}", found.get("location"), quote, head)
        if cure := self._columns.cure(name):
            return mistake(rule, f"there is no column {name} yet", found.get("location"), cure, head)
        names = [column.name for column in self._columns.by_name.values()]
        hint = f"{did_you_mean(name, names)}The columns are: {', '.join(names)}."
        return mistake(rule, f"there is no column {name}{marks}", found.get("location"), hint, head)


def mistake(
    rule: FilterRule, message: str, location: str | None, hint: str = "", head: str = EXPRESSION.head
) -> UsageError:
    """The error for a wrong rule; `location` is DuckDB's `[byte, length]` in a query that began with `head`."""
    start, length = json.loads(location) if location else (len(head), 0)
    shown = _shown(rule.sql, start - len(head), length)
    if start - len(head) >= len(rule.sql.encode()) and message.startswith("syntax error"):
        message = "it ends too early"  # not at the bracket that closes the query
    lines = [f"The rule {rule.name} is wrong: {message.rstrip('.!')}.", *shown]
    return UsageError("\n".join([*lines, hint or "Correct it."]))


def _place(part: dict[str, Any]) -> str:
    """Position of a node of an expression."""
    return f"[{part.get('query_location')},{part.get('query_location_length')}]"


def _name(part: dict[str, Any]) -> str:
    """The column of a reference: `id`, `rows.id`; `vendor.name` is a field of `vendor`."""
    table, *below = part["column_names"]
    return str(below[0] if below and table.lower() == "rows" else table)


def _shown(sql: str, start: int, length: int) -> Iterator[str]:
    """The line of the expression with the mistake, and markers below it; `start` and `length` in bytes."""
    data = sql.encode()
    place = min(len(data[: max(start, 0)].decode(errors="ignore")), max(len(sql) - 1, 0))
    first = sql.rfind("\n", 0, place) + 1
    yield "  " + sql[first:].partition("\n")[0]
    if length:
        marked = data[max(start, 0) :][:length].decode(errors="ignore").partition("\n")[0]
        yield "  " + " " * _width(sql[first:place]) + "^" * max(1, _width(marked))


def _width(text: str) -> int:
    """Width in terminal columns: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
