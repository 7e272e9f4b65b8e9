"""Command-line options made from pydantic models, and back to the words of a shell line.

In: the address of a model. Out: a Typer option per leaf field, with the field's name, limits, default and description;
the values that were typed, validated; the words that repeat a value. Names and descriptions have one home, so the
command line, YAML files and Prefect's forms cannot drift apart.

An option that is not typed stays absent: what is typed wins over a file, which wins over the default. The model is
imported when its options are needed, which is not for `hanclip --help`: pydantic is a third of its time.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from flows.options.field import FieldOption, option_type

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

M = TypeVar("M", bound="BaseModel")


@dataclass(frozen=True, slots=True)
class ModelOptions(Generic[M]):
    """The options of one model.

    Attributes:
        model: its address, `package.module:Class`.
        command: the command whose help a wrong value refers to.
        names: options that are not called like their field, by the path of the field.
        shorts: letters that mean the same as an option, by the path of the field.
        panels: headings in the help, each by the first section or field below it.
        metavars: what stands for values in the help, by path or by type.
        limits: whether the help shows the limits of numbers, and Typer checks them.
        switches: whether each flag has a hidden opposite, to overrule a file; or the paths of those that have.
        hidden: sections and fields that are no options, such as positional arguments.
        chosen: sections and fields that are; all if empty.
    """

    model: str
    command: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    shorts: Mapping[str, str] = field(default_factory=dict)
    panels: Mapping[str, str] = field(default_factory=dict)
    metavars: Mapping[Any, str] = field(default_factory=dict)
    limits: bool = True
    switches: bool | tuple[str, ...] = False
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
            metavar = self.metavars.get(path, self.metavars.get(option_type(info.annotation)[1]))
            name = self.names.get(path, path.rpartition(".")[2])
            short = self.shorts.get(path, "")
            switch = self.switches if isinstance(self.switches, bool) else path in self.switches
            yield FieldOption(path, info, name, panel, metavar, self.limits, switch, short)

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
        from pipeline.validation import validated  # keeps --help light

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
