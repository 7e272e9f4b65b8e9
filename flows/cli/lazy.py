"""Typer commands whose options are made on first use.

In: functions as Typer takes them. Out: commands with a name and a help text; their options follow on demand. The list
of all commands shows no options, and one command needs only its own, so making all of them would slow down every call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import typer
from typer.core import TyperCommand

from actors.exiting import exits_at_once
from actors.stopping import raise_on_signals

Function = TypeVar("Function", bound=Callable[..., Any])


class LazyCommand(TyperCommand):
    """A command that asks Typer for the options of `function` on first use."""

    def __init__(self, function: Callable[..., Any], *, params: object, callback: object, **about: Any) -> None:
        super().__init__(**about)
        self._function = function
        del self.params, self.callback

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's, without what pydantic puts in front of its message about a choice."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as wrong:
            wrong.message = wrong.message.removeprefix("Value error, ")
            raise

    def invoke(self, ctx: Any) -> Any:
        """As Typer's. The options are parsed: from here on there may be something to clean up after a signal."""
        if exits_at_once():
            raise_on_signals()
        return super().invoke(ctx)

    def __getattr__(self, name: str) -> Any:
        """Called for attributes that are missing, as these two are until first use."""
        if name not in ("params", "callback"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name}")
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command()(self._function)
        whole = typer.main.get_command(alone)
        self.params, self.callback = whole.params, whole.callback
        return getattr(self, name)


class LazyTyper(typer.Typer):
    """A Typer of such commands."""

    def command(self, name: str | None = None, **about: Any) -> Callable[[Function], Function]:
        """As Typer's."""
        add = super().command

        def register(function: Function) -> Function:
            cls = cast(type[TyperCommand], partial(LazyCommand, function))
            add(name, cls=cls, **about)(_outline(function))
            return function

        return register


def _outline(function: Callable[..., Any]) -> Callable[[], None]:
    """A stand-in for `function` with its name and its help, and without parameters."""

    def outline() -> None:
        raise NotImplementedError

    outline.__name__ = function.__name__
    # The help keeps line breaks in all paragraphs but the first: the terminal decides where they are.
    outline.__doc__ = re.sub(r"(?<=\S)\n *(?=\S)", " ", function.__doc__ or "")
    return outline
