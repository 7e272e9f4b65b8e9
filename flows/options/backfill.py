"""The command line's options of a backfill, made from the fields of `BackfillRequest`, beside those of the run itself.

In: the pydantic models. Out: Typer options with their names, limits and descriptions, and the validated values. Made
and not typed in again, so the command line, Prefect's form and the engine cannot drift apart.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options.keywords import Keywords
from flows.options.run import all_options

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from flows.backfill.request import BackfillRequest

#: Fields whose option has another name: `--limit` is the run's own.
_RENAMED = {"partitions": "partition", "limit": "max_partitions"}
#: The date of a partition is its run date.
_WITHOUT = ("output", "run_date")
_PANEL = "Backfill"


def backfill_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a keyword per field of `BackfillRequest` and of `RunConfig` in place of `**options`."""
    return Keywords(command, _parameters)


def _parameters() -> Iterator[inspect.Parameter]:
    from flows.backfill.request import BackfillRequest

    yield from (_parameter(name, info) for name, info in BackfillRequest.model_fields.items())
    for option in all_options():
        if (option.section, option.field) != _WITHOUT:
            yield from option.parameters()


def request_of(given: Mapping[str, object]) -> BackfillRequest:
    """The request that the command line's options make; raises ConfigError."""
    from flows.backfill.request import BackfillRequest, parse_request

    values = {name: given.get(_RENAMED.get(name, name)) for name in BackfillRequest.model_fields}
    return parse_request({name: value for name, value in values.items() if value not in (None, [])})


def _parameter(name: str, info: FieldInfo) -> inspect.Parameter:
    option = _RENAMED.get(name, name)
    kind, metavar = _typed(info.annotation)
    shown = info.default not in (None, (), False)
    about = typer.Option(
        f"--{option.replace('_', '-')}",
        help=rf"{info.description} [dim]\[default: {info.default}][/dim]" if shown else str(info.description),
        show_default=False,
        rich_help_panel=_PANEL,
        metavar=metavar,
    )
    annotation: Any = Annotated[kind | None, about]
    return inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _typed(annotation: Any) -> tuple[Any, str | None]:
    """Type of the option, and the word for its value in the help; choices are checked by the model as well."""
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if typing.get_origin(annotation) is typing.Literal:
        return str, "|".join(parts)
    if typing.get_origin(annotation) is tuple:
        return list[str], "KEY"
    kind = parts[0] if parts else annotation
    if kind is bool:
        return bool, None
    return (int, "N") if kind is int else (str, "YYYY-MM-DD")
