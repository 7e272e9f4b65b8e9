"""Infers the Arrow types of a source's own columns in formats without a schema (JSON, CSV), and fits values to them.

`int64` widens to `double`; any other mixture widens to `string`. Nested values become JSON text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from pipeline.sources.texts import decode_text, without_surrogates

_INT = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9]\d*)\.\d+([eE][+-]?\d+)?", re.ASCII)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_INT64 = 2**63
_STRING, _INTEGER, _DOUBLE, _BOOL, _NULL = pa.string(), pa.int64(), pa.float64(), pa.bool_(), pa.null()


class Widening:
    """The narrowest type of each column that holds all values seen."""

    def __init__(self) -> None:
        self._types: dict[str, pa.DataType] = {}

    def see(self, row: Mapping[str, Any]) -> None:
        """Widen the columns of `row` to hold its values."""
        for name, value in row.items():
            known = self._types.get(name)
            if known is not _STRING:
                self._types[name] = _wider(known or _NULL, _type_of(value))

    def see_texts(self, names: Iterable[str], texts: Iterable[str]) -> None:
        """The same for a row of a CSV file, where numbers are text; "" fits every type."""
        for name, text in zip(names, texts, strict=False):
            known = self._types.get(name)
            if known is not _STRING:
                self._types[name] = _wider(known or _NULL, _type_of_text(text))

    def merge(self, other: Widening) -> None:
        """Widen by the values that `other` has seen."""
        for name, kind in other._types.items():
            self._types[name] = _wider(self._types.get(name, _NULL), kind)

    def schema(self) -> pa.Schema:
        """The columns seen, in order; a column of nulls is a string."""
        return pa.schema([(name, _STRING if pa.types.is_null(kind) else kind) for name, kind in self._types.items()])


def _type_of(value: Any) -> pa.DataType:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _BOOL
    if isinstance(value, int):
        return _INTEGER if -_INT64 <= value < _INT64 else _STRING
    return _DOUBLE if isinstance(value, float) else _STRING


def _type_of_text(text: str) -> pa.DataType:
    if not text:
        return _NULL
    if _INT.fullmatch(text):
        return _INTEGER
    return _DOUBLE if _FLOAT.fullmatch(text) else _STRING


def _wider(known: pa.DataType, new: pa.DataType) -> pa.DataType:
    if known is new or new is _NULL:
        return known
    if known is _NULL:
        return new
    return _DOUBLE if {known.id, new.id} == {_INTEGER.id, _DOUBLE.id} else _STRING


def outline(value: Any) -> Any:
    """A parsed value of JSON with the same types and, so that it stays small, empty texts and short lists."""
    if isinstance(value, dict):
        return {name: outline(one) for name, one in value.items()}
    if isinstance(value, list):
        return [outline(one) for one in value[:8]]
    return "" if isinstance(value, str) else value


def json_object(data: str | bytes) -> dict[str, Any]:
    """Parse a JSON object. Its strings may hold lone surrogates, see `texts.is_whole`.

    Raises:
        ValueError: it is not a JSON object.
    """
    text = decode_text(data) if isinstance(data, bytes) else data
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("its values are nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - bad data, not a wrong call
    return {str(without_surrogates(key)): held for key, held in value.items()} if _SURROGATE.search(text) else value


def fit(value: Any, kind: pa.DataType) -> Any:
    """`value` as a column of type `kind` holds it.

    Raises:
        ValueError: it does not fit.
    """
    if pa.types.is_string(kind):
        return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if value is None or _type_of(value) is kind or _type_of(value).equals(kind):
        return value
    if pa.types.is_floating(kind) and _type_of(value) is _INTEGER:
        return float(value)
    raise ValueError(f"{json.dumps(value, ensure_ascii=False)[:60]} does not fit a column of {kind}")


def fit_row(values: Mapping[str, Any], carried: Iterable[tuple[str, pa.Field]]) -> dict[str, Any]:
    """The carried columns of a parsed JSON object, under their names in the output; ValueError names one that fails."""
    found = {}
    for name, column in carried:
        try:
            found[column.name] = without_surrogates(fit(values.get(name), column.type))
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def fit_text(text: str, kind: pa.DataType) -> Any:
    """The same for a CSV cell; an empty cell is null, since CSV has no other null."""
    if not text:
        return None
    if pa.types.is_string(kind):
        return text
    return int(text) if pa.types.is_integer(kind) else float(text)
