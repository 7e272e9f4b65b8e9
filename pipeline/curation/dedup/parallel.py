"""How comparisons are mapped over blocks of vectors: serially in this process, or in parallel on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ParallelMap(Protocol):
    """Like `map`: results in the order of the items. Calls may run elsewhere and several at a time."""

    def __call__(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Call `function` with each item."""


def serial_map(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Call `function` in this process, one item after another; the matrix products inside use all cores."""
    return map(function, items)
