"""Describes the keys of configurations: the YAML of runs, and the arguments of the API on Ray Serve.

In: the pydantic models that check them. Out: a page with a table for each section.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.generate.markdown import block, code, page, prose, table
from flows.options.model import ModelOptions
from flows.options.run import RUN
from flows.options.serving import SERVE
from pipeline.config import RunConfig

PATH = "reference/configuration.md"
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", date: "date"}
_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def configuration_pages() -> dict[str, str]:
    """The page by its path on the site."""
    return {
        PATH: page(
            "Configuration",
            "A run reads these keys from the file of `--config`; the options of "
            "[`hanclip embed`](commands/embed.md) override them. `hanclip embed --print-config` writes such a file "
            "with every key. Keys that are left out have their default, unknown ones are refused.",
            *_sections(RUN, "##"),
            "## A file with every default",
            block("yaml", RunConfig().to_yaml()),
            "## The API on Ray Serve",
            "The `args` of the application in the file for `serve deploy` (see [the API](../serve.md#on-a-cluster)). "
            "On one machine the options of [`hanclip serve`](commands/serve.md) set the same.",
            *_sections(SERVE, "###"),
        )
    }


def _sections(options: ModelOptions[Any], level: str) -> Iterator[str]:
    """Heading, meaning and table of each section of a model."""
    flags = {option.path: option.flag for option in options.fields()}
    for name, info in options.kind.model_fields.items():
        section: type[BaseModel] = typing.cast("type[BaseModel]", info.annotation)
        yield f"{level} {code(name)}"
        yield prose(section.__doc__ or "")
        fields = section.model_fields.items()
        yield table(["key", "meaning"], [_row(key, field, flags.get(f"{name}.{key}")) for key, field in fields])


def _row(key: str, field: FieldInfo, flag: str | None) -> list[str]:
    default = "none" if field.default in (None, (), "") else str(field.default).lower()
    if not isinstance(field.default, bool) and default != "none":
        default = str(field.default)
    usual = flag is None or flag == f"--{key.replace('_', '-')}"
    meaning = prose(field.description or "")
    value = f"({', '.join([kind_of(field.annotation), *_bounds(field)])}; default {code(default)})"
    return [code(key), f"{meaning} {value}" if usual else f"{meaning} {value} Option: {code(flag)}."]


def kind_of(annotation: Any) -> str:
    """What a value of a field may be, in words."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind_of(inner[0])
    if origin is typing.Literal:
        return " or ".join(code(word) for one in inner for word in _literal(one))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(kind_of(part) for part in inner if part is not types.NoneType)
    if origin is tuple:
        return f"list of {kind_of(inner[0])}"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _literal(one: Any) -> Iterator[str]:
    """The words of a choice, of which one may be a set of choices itself."""
    if typing.get_origin(one) is typing.Literal:
        for inner in typing.get_args(one):
            yield from _literal(inner)
    else:
        yield str(one)


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound, words in _BOUNDS.items():
        for rule in field.metadata:
            if (value := getattr(rule, bound, None)) is not None:
                yield f"{words} {value}"
