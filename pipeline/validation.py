"""Validates user-supplied values against pydantic models; every wrong key ends up in one message.

`Options` is the base of those models, with what holds for every text that a user gives.

In: plain values, or JSON as bytes. Out: the model. The project's errors are raised in place of pydantic's, so that
callers need not know which library checks the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WrapValidator,
    field_validator,
)
from pydantic_core import ErrorDetails

from pipeline.errors import ConfigError, HanclipError

T = TypeVar("T")

#: A damaged file may have an error in each of thousands of rows.
_MOST_LINES = 20


class Options(BaseModel):
    """Options of a command, a file or a flow.

    Frozen, without unknown keys, infinite numbers, and texts that are blank or cannot be a name. A value that equals
    the field's default is always valid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @field_validator("*")
    @classmethod
    def _texts_say_something(cls, value: object, info: ValidationInfo) -> object:
        if value != cls.model_fields[info.field_name or ""].default:
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str):
                    _require_content(text)
        return value


def _auto_or_number(value: object, check: Callable[[object], object]) -> object:
    """As checked; null, which earlier versions wrote, is auto."""
    try:
        return check(value) or "auto"
    except ValidationError as error:
        raise ValueError("give auto, or a whole number of at least 1") from error


#: A number that hanclip chooses unless it is given.
AutoOrNumber = Annotated[Literal["auto"] | Annotated[int, Field(ge=1)] | None, WrapValidator(_auto_or_number)]


def excludes(*others: str, why: str) -> AfterValidator:
    """Refuse a field that is set together with one of `others`, which stand before it in its model."""

    def alone(value: T, info: ValidationInfo) -> T:
        also = [name for name in others if info.data.get(name)]
        if value and also:
            raise ValueError(f"{why}: leave out {' and '.join(also)} or {info.field_name}")
        return value

    return AfterValidator(alone)


def _require_content(text: str) -> None:
    if not text.strip():
        raise ValueError("it is empty: give a value, or leave it out")
    if "\0" in text:
        raise ValueError(f"{text!r} holds a NUL character, which no name or text may: leave it out")
    try:
        text.encode("utf-8", "surrogateescape")  # names on a disk need not be text
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!a} holds half of a surrogate pair: correct it") from error


def validated(
    kind: type[T],
    values: object,
    summary: str,
    *,
    cure: str = "",
    error: Callable[[str], HanclipError] = ConfigError,
    label: Callable[[tuple[str, ...]], str] = ".".join,
) -> T:
    """`values` as a `kind`.

    Args:
        kind: a pydantic model, or any type that pydantic can validate.
        values: plain values, or JSON as bytes.
        summary: first line of the error, without a colon.
        cure: last line of the error, when the lines about the keys do not say what to do.
        error: makes what is raised out of the message.
        label: what the user calls the key at a path of names and indices.

    Raises:
        HanclipError: that of `error`, with a line for each wrong key.
    """
    try:
        return _parsed(kind, values)
    except ValidationError as invalid:
        lines = list(dict.fromkeys(_lines(kind, invalid, label)))
        rest = [f"... and {len(lines) - _MOST_LINES:,} more"] if len(lines) > _MOST_LINES else []
        text = "\n  ".join([f"{summary}:", *lines[:_MOST_LINES], *rest])
        raise error(f"{text}\n{cure}" if cure else text) from invalid


def _parsed(kind: type[T], values: object) -> T:
    # A model has its own settings for errors: one that may hold a password keeps its input out of them.
    if _is_model(kind):
        model: Any = kind
        parsed: T = model.model_validate_json(values) if isinstance(values, bytes) else model.model_validate(values)
        return parsed
    adapter = TypeAdapter(kind)
    return adapter.validate_json(values) if isinstance(values, bytes) else adapter.validate_python(values)


def _lines(kind: type[object], invalid: ValidationError, label: Callable[[tuple[str, ...]], str]) -> Iterator[str]:
    for each in invalid.errors(include_url=False, include_context=False):
        name = label(tuple(map(str, each["loc"])))
        yield f"{name}: {_message(kind, each)}" if name else _message(kind, each)


def _message(kind: type[object], found: ErrorDetails) -> str:
    if found["type"] != "extra_forbidden":
        return found["msg"].removeprefix("Value error, ")
    *path, key = map(str, found["loc"])
    names = _fields(kind, path)
    near = get_close_matches(key, names, n=1)
    if near:
        return f"no such key; did you mean {near[0]}?"
    return f"no such key; there are {', '.join(names)}" if names else "no such key"


def _fields(kind: Any, path: list[str]) -> list[str]:
    """Names of the fields at `path`; empty where a list, a dictionary or a union lies on the way."""
    for name in path:
        info = kind.model_fields.get(name) if _is_model(kind) else None
        kind = info and info.annotation
    return list(kind.model_fields) if _is_model(kind) else []


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
