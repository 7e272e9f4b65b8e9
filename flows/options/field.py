"""One field of a pydantic model as a command-line option.

In: what pydantic knows about the field. Out: the option as Typer reads it from a signature; what was typed; the words
that repeat a value.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from keyword import iskeyword
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

#: What stands for a value in the help.
METAVARS: Mapping[Any, str] = {int: "N", float: "X", str: "TEXT", tuple: "NAME", date: "YYYY-MM-DD"}
_LIMITS = {"min": "ge", "max": "le"}


@dataclass(frozen=True, slots=True)
class FieldOption:
    """One leaf field as an option.

    Attributes:
        path: the field, such as `source.limit`.
        info: what pydantic knows about it.
        name: the option without its dashes.
        panel: heading in the help; None for the command's own options.
        metavar: what stands for the value in the help; None for Typer's choice.
        limits: whether the help shows the limits of a number.
        switch: whether a flag has a hidden opposite, `--no-...`.
        short: a letter that means the same, such as `-k`; empty for none.
    """

    path: str
    info: FieldInfo
    name: str
    panel: str | None
    metavar: str | None
    limits: bool
    switch: bool
    short: str = ""

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def keyword(self) -> str:
        """The parameter of the command's function."""
        return f"{self.name}_" if iskeyword(self.name) else self.name

    def parameters(self) -> Iterator[inspect.Parameter]:
        """The option as Typer reads it from a function's signature."""
        kind, _ = option_type(self.info.annotation)
        if self.metavar and typing.get_origin(kind) is typing.Literal:
            kind = str  # the help does not show the choices as Typer does: the model checks them
        limits = {k: getattr(m, a) for m in self.info.metadata for k, a in _LIMITS.items() if hasattr(m, a)}
        option = typer.Option(
            *filter(None, (self.flag, self.short)),
            help=self._help(kind),
            show_default=False,
            rich_help_panel=self.panel,
            metavar=self.metavar,
            **(limits if self.limits and kind in (int, float) else {}),
        )
        yield _parameter(self.keyword, kind, option)
        if kind is bool and self.switch:
            yield _parameter(f"no_{self.name}", bool, typer.Option(f"--no-{self.flag[2:]}", hidden=True))

    def _help(self, kind: Any) -> str:
        default = None if self.info.is_required() else self.info.default
        if kind is bool and self.switch:
            return rf"{self.info.description} [dim]\[off: --no-{self.flag[2:]}][/dim]"
        if default is None or default is False or default == ():
            return str(self.info.description)
        return rf"{self.info.description} [dim]\[default: {default}][/dim]"

    def value(self, typed: Mapping[str, object]) -> object:
        """What was typed; None for nothing."""
        if typed.get(f"no_{self.name}"):
            return False
        value = typed.get(self.keyword)
        return None if value is False or value == [] else value

    def words(self, value: object) -> Iterator[str]:
        """The option with `value`; nothing for the default."""
        if value == self.info.default:
            return
        if isinstance(value, bool):
            yield self.flag if value else f"--no-{self.flag[2:]}"
        else:
            for part in value if isinstance(value, tuple) else (value,):
                yield from (self.flag, str(part))


def option_type(annotation: Any) -> tuple[Any, Any]:
    """Type of the option for a field's type, and the type that its metavar is looked up by."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        return option_type(parts[0]) if len(parts) == 1 else (str, None)  # the model decides which it is
    if typing.get_origin(annotation) is tuple:
        item = typing.get_args(annotation)[0]
        # Models come in a file, which the command reads.
        return (str if hasattr(item, "model_fields") else list[item]), tuple  # type: ignore[valid-type]
    return (str if annotation is date else annotation), annotation


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
