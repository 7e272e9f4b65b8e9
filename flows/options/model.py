"""Command-line options made from pydantic models, and back to the words of a shell line.

In: the address of a model. Out: a Typer option per leaf field, with the field's name, limits, default and description;
the values that were typed, validated; the words that repeat a value. Names and descriptions have one home, so the
command line, YAML files and Prefect's forms cannot drift apart.

An option that is not typed stays absent: what is typed wins over a file, which wins over the default. The model is
imported when its options are needed, which is not for `hanclip --help`: pydantic is a third of its time.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import import_module
from keyword import iskeyword
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

M = TypeVar("M", bound="BaseModel")

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
    """

    path: str
    info: FieldInfo
    name: str
    panel: str | None
    metavar: str | None
    limits: bool
    switch: bool

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
        kind, _ = _typed(self.info.annotation)
        limits = {k: getattr(m, a) for m in self.info.metadata for k, a in _LIMITS.items() if hasattr(m, a)}
        option = typer.Option(
            self.flag,
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


@dataclass(frozen=True, slots=True)
class ModelOptions(Generic[M]):
    """The options of one model.

    Attributes:
        model: its address, `package.module:Class`.
        command: the command whose help a wrong value refers to.
        names: options that are not called like their field, by the path of the field.
        panels: headings in the help, each by the first section or field below it.
        metavars: what stands for values in the help, by path or by type.
        limits: whether the help shows the limits of numbers, and Typer checks them.
        switches: whether each flag has a hidden opposite, to overrule a file.
        hidden: sections and fields that are no options, such as positional arguments.
        chosen: sections and fields that are; all if empty.
    """

    model: str
    command: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    panels: Mapping[str, str] = field(default_factory=dict)
    metavars: Mapping[Any, str] = field(default_factory=dict)
    limits: bool = True
    switches: bool = False
    hidden: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()

    def only(self, *paths: str) -> ModelOptions[M]:
        """These sections and fields alone."""
        return replace(self, chosen=paths)

    def without(self, *paths: str) -> ModelOptions[M]:
        """All but these sections and fields."""
        return replace(self, hidden=(*self.hidden, *paths))

    @property
    def kind(self) -> type[M]:
        """The model itself."""
        module, _, name = self.model.partition(":")
        kind: type[M] = getattr(import_module(module), name)
        return kind

    def fields(self) -> Iterator[FieldOption]:
        """Its options, in the order of the fields."""
        panel = None
        for path, info in _leaves(self.kind):
            panel = next((heading for start, heading in self.panels.items() if _within(path, (start,))), panel)
            if _within(path, self.hidden) or (self.chosen and not _within(path, self.chosen)):
                continue
            metavar = self.metavars.get(path, self.metavars.get(_typed(info.annotation)[1]))
            name = self.names.get(path, path.rpartition(".")[2])
            yield FieldOption(path, info, name, panel, metavar, self.limits, self.switches)

    def about(self, path: str) -> str:
        """Description of a field, for one that is a positional argument."""
        return str(dict(_leaves(self.kind))[path].description)

    def given(self, typed: Mapping[str, object]) -> dict[str, Any]:
        """Options that were typed, as a tree for the model."""
        tree: dict[str, Any] = {}
        for option in self.fields():
            if (value := option.value(typed)) is not None:
                *sections, name = option.path.split(".")
                below = tree
                for section in sections:
                    below = below.setdefault(section, {})
                below[name] = value
        return tree

    def parsed(self, typed: Mapping[str, object], **more: object) -> M:
        """The model that the options make, with `more` fields; raises ConfigError."""
        return self.validated({**self.given(typed), **more})

    def validated(self, tree: Mapping[str, object]) -> M:
        """The model that a tree makes; raises ConfigError, which names options."""
        from pipeline.validation import validated

        cure = f"See `hanclip {self.command} --help`." if self.command else ""
        return validated(self.kind, tree, "The options are not valid", cure=cure, label=self._label)

    def words(self, value: M) -> list[str]:
        """The options that make `value`, without those at their defaults."""
        return [word for option in self.fields() for word in option.words(attrgetter(option.path)(value))]

    def _label(self, path: tuple[str, ...]) -> str:
        return self.flag(".".join(path))

    def flag(self, path: str) -> str:
        """The option of the field at `path`, or of the field that holds it; the path itself where there is none."""
        return next((option.flag for option in self.fields() if _within(path, (option.path,))), path)


def _leaves(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, info in model.model_fields.items():
        if hasattr(info.annotation, "model_fields"):
            yield from _leaves(typing.cast("type[BaseModel]", info.annotation), f"{above}{name}.")
        else:
            yield f"{above}{name}", info


def _within(path: str, sections: tuple[str, ...]) -> bool:
    return any(path == section or path.startswith(f"{section}.") for section in sections)


def _typed(annotation: Any) -> tuple[Any, Any]:
    """Type of the option for a field's type, and the type that its metavar is looked up by."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        parts = [part for part in typing.get_args(annotation) if part is not types.NoneType]
        return _typed(parts[0]) if len(parts) == 1 else (str, None)  # the model decides which it is
    if typing.get_origin(annotation) is tuple:
        item = typing.get_args(annotation)[0]
        # Models come in a file, which the command reads.
        return (str if hasattr(item, "model_fields") else list[item]), tuple  # type: ignore[valid-type]
    return (str if annotation is date else annotation), annotation


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
