"""The command line's options, made from the fields of `RunConfig`.

In: the pydantic tree. Out: one Typer option per leaf field, with the field's name, limits, default and description, and
`build`, which lays them over a YAML file. Made and not typed in again, so the two cannot drift. An option that is not
given stays None: the command line wins over the YAML file, which wins over the default.

The tree is imported when an option of it is looked at, which is not for `hanclip --help`: pydantic is a third of that.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options.keywords import Keywords
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from pipeline.config import RunConfig


#: Fields that are positional arguments: `hanclip embed SOURCE... OUT`.
POSITIONAL = {("source", "uris"), ("output", "uri")}
#: Options that are not simply their field's name.
RENAMED = {
    ("model", "name"): "model",
    ("source", "extra_columns"): "extra_column",
    ("jobs", "address"): "jobs_address",
    ("jobs", "timeout_s"): "job_timeout_s",
}
PANELS = {
    "source": "Source",
    "image": "Images",
    "model": "Model",
    "output": "Output",
    "cluster": "Cluster",
    "jobs": "Jobs",
}


@dataclass(frozen=True, slots=True)
class ConfigOption:
    """One leaf of `RunConfig` as a command line option; `name` is the keyword that the command receives."""

    section: str
    field: str
    info: FieldInfo

    @property
    def name(self) -> str:
        """Keyword of the command's function, and the option without its dashes."""
        return RENAMED.get((self.section, self.field), self.field)

    @property
    def flag(self) -> str:
        """The option as it is typed."""
        return f"--{self.name.replace('_', '-')}"

    def parameters(self) -> Iterator[inspect.Parameter]:
        """The option as Typer reads it from a function's signature; a switch has a hidden opposite, `--no-...`."""
        kind, metavar = _typed(self.info.annotation)
        limits = {k: getattr(m, a) for m in self.info.metadata for k, a in _LIMITS.items() if hasattr(m, a)}
        yield _keyword(
            self.name,
            kind,
            typer.Option(
                self.flag,
                help=self._help(kind),
                show_default=False,
                rich_help_panel=PANELS[self.section],
                metavar=metavar,
                **(limits if kind in (int, float) else {}),
            ),
        )
        if kind is bool:
            yield _keyword(f"no_{self.name}", bool, typer.Option(f"--no-{self.flag[2:]}", hidden=True))

    def _help(self, kind: Any) -> str:
        if kind is bool:
            return rf"{self.info.description} [dim]\[off: --no-{self.flag[2:]}][/dim]"
        if self.info.default is None:
            return str(self.info.description)
        return rf"{self.info.description} [dim]\[default: {self.info.default}][/dim]"

    def value(self, given: Mapping[str, object]) -> object:
        """What the command line says, or None when it says nothing."""
        if given.get(f"no_{self.name}"):
            return False
        value = given.get(self.name)
        return None if value is False else value


def _keyword(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", bool: ""}
_LIMITS = {"min": "ge", "max": "le"}


def _typed(annotation: Any) -> tuple[Any, str | None]:
    """Type of the option for a field's type, without None, and the word for its value in the help."""
    if typing.get_origin(annotation) is types.UnionType:
        (annotation,) = (part for part in typing.get_args(annotation) if part is not types.NoneType)
    if typing.get_origin(annotation) is tuple:
        return list[str], "NAME"
    if annotation is date:
        return str, "YYYY-MM-DD"
    return annotation, _METAVARS.get(annotation)


def all_options() -> tuple[ConfigOption, ...]:
    """Every leaf field of `RunConfig` that is not a positional argument, in the order of the tree."""
    from pipeline.config import RunConfig

    return tuple(
        ConfigOption(section, name, info)
        for section, model in RunConfig.sections().items()
        for name, info in model.model_fields.items()
        if (section, name) not in POSITIONAL
    )


def config_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a keyword per field in place of `**options`: all, or those of a `section`, or `section.field`."""
    return with_options(
        lambda: (o for o in all_options() if not names or {o.section, f"{o.section}.{o.field}"} & set(names))
    )


def with_options(
    wanted: Callable[[], Iterable[ConfigOption]],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the keywords of these options in place of `**options`."""
    return lambda command: Keywords(command, lambda: (made for option in wanted() for made in option.parameters()))


def overrides(given: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Options that were given, as a tree of sections; those left at None are absent."""
    tree: dict[str, dict[str, object]] = {}
    for option in all_options():
        value = option.value(given)
        if value is not None and value != []:
            tree.setdefault(option.section, {})[option.field] = value
    return tree


def build(paths: Sequence[str], config_file: Path | None, given: Mapping[str, object]) -> RunConfig:
    """Lay the arguments and options over the YAML file and validate the whole.

    Args:
        paths: sources and then the output, or nothing when the file names them.
        config_file: YAML as `--print-config` writes it.
        given: options by name; None means not given.

    Raises:
        ConfigError: a wrong key or value, or one path alone.
    """
    from pipeline.config import load_yaml, parse

    if len(paths) == 1:
        raise ConfigError(f"Only one path was given: {paths[0]}. Give at least one source and then the output folder.")
    tree = load_yaml(config_file) if config_file else {}
    top = overrides(given)
    if paths:
        top.setdefault("source", {})["uris"] = list(paths[:-1])
        top.setdefault("output", {})["uri"] = paths[-1]
    for section, values in top.items():
        below = tree.get(section) or {}
        tree[section] = {**below, **values} if isinstance(below, dict) else below
    return parse(tree)
