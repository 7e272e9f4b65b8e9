"""Options of a command that are made only when its signature is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


class Keywords:
    """A command with further keywords in place of `**options`, which are made when its signature is asked for."""

    def __init__(self, command: Callable[..., None], made: Callable[[], Iterable[inspect.Parameter]]) -> None:
        update_wrapper(self, command)
        self._command, self._made = command, made
        self.__name__ = command.__name__

    def __call__(self, *given: Any, **options: Any) -> None:
        """Run the command."""
        self._command(*given, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        known = inspect.signature(self._command, eval_str=True).parameters.values()
        own = [parameter for parameter in known if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        return inspect.Signature([*own, *self._made()])
