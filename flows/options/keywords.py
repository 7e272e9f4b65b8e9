"""Gives a command the options of pydantic models, which are made only when its signature is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from flows.options.model import ModelOptions


def options(*models: ModelOptions[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `models` in place of its `**options`; they stand before its own."""
    return lambda command: _WithOptions(command, models)


class _WithOptions:
    def __init__(self, command: Callable[..., None], models: tuple[ModelOptions[Any], ...]) -> None:
        update_wrapper(self, command)
        self._command, self._models = command, models
        self.__name__ = command.__name__

    def __call__(self, *given: Any, **options: Any) -> None:
        self._command(*given, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        known = inspect.signature(self._command, eval_str=True).parameters.values()
        own = [parameter for parameter in known if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        required = [parameter for parameter in own if parameter.default is inspect.Parameter.empty]
        rest = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own[len(required) :]]
        made = [each for model in self._models for option in model.fields() for each in option.parameters()]
        return inspect.Signature([*required, *made, *rest])
