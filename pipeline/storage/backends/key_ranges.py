"""Chooses where to split the rest of a listing of names that nobody has seen yet.

In: names seen so far, in a store's order. Out: a name between the last one that was listed and the end of a range, near
the middle of the names to come. The guess decides how evenly requests share the work, never which names are listed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

_PLACES = 16
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdef")
#: A rest of fewer expected pages is left to the request that comes to it.
_WORTH_PAGES = 2.0
#: Behind a split, so that it is the name of no folder: some stores take the name of one for everything in it.
_NO_NAME = "~~"


class Reach(NamedTuple):
    """Pages behind the latest one: how many are on their way, and how far behind those a split may be."""

    on_the_way: int
    ahead: int


class NameSpace:
    """The characters of the names in one folder, place by place.

    A name is a number in a positional system whose digits are the characters that its place may have. Between two such
    numbers lies a middle, and the distance of a page's first and last name says how many pages a distance holds.
    """

    def __init__(self) -> None:
        self._seen: list[set[str]] = [set() for _ in range(_PLACES)]
        self._digits: list[list[str]] = [[] for _ in range(_PLACES)]

    def learn(self, names: Sequence[str]) -> None:
        """Take in names of a page."""
        for place, seen in enumerate(self._seen):
            seen |= {name[place] for name in names if len(name) > place}
        is_hex = any(seen & _DIGITS and _DIGITS < seen | _DIGITS <= _HEX for seen in self._seen)
        self._digits = [_widened(seen, _HEX if is_hex else _DIGITS) for seen in self._seen]

    def split(self, first: str, last: str, end: str | None, reach: Reach) -> str | None:
        """A name after `last` and before `end`, at which to divide what lies between; None if it is not worth it.

        Args:
            first: the first name of the latest page.
            last: its last name.
            end: where the range ends; None for the end of the folder, which nobody knows.
            reach: how far to look ahead at most.
        """
        low = self._number(last)
        high = self._number(end) if end is not None else self._size()
        page = low - self._number(first)
        low += page * reach.on_the_way
        if page <= 0 or high - low < _WORTH_PAGES * page:
            return None
        middle = min((low + high) // 2, low + reach.ahead * page)
        names = (self._name(number, last, extra) for extra in range(3) for number in (middle, middle - 1))
        return next((name for name in names if last < name and (end is None or name < end)), None)

    def _size(self) -> int:
        size = 1
        for digits in self._digits:
            size *= len(digits) + 1
        return size

    def _number(self, name: str) -> int:
        number = 0
        for place, digits in enumerate(self._digits):
            value = 0 if place >= len(name) else 1 + bisect_left(digits, name[place])
            number = number * (len(digits) + 1) + min(value, len(digits))
        return number

    def _name(self, number: int, after: str, extra: int) -> str:
        """The name of a number, as short as it can be behind `after`, and some characters more."""
        values = []
        for digits in reversed(self._digits):
            number, value = divmod(number, len(digits) + 1)
            values.append(value)
        name = ""
        for digits, value in zip(self._digits, reversed(values), strict=True):
            if name > after and not after.startswith(name):
                extra -= 1
            if not value or extra < 0:
                break
            name += digits[value - 1]
        return name + _NO_NAME


def disputed_folders(split: str) -> list[str]:
    """Names of folders that come before `split` in stores that list folder by folder, and behind it in all others.

    `part/1` is behind `part-5`, but the folder `part` is before it.
    """
    return [split[:place] for place, character in enumerate(split) if place and character < "/"]


def is_beyond(key: str, end: str) -> bool:
    """Whether a key comes after `end` in both kinds of stores."""
    return key > end and key.split("/") > end.split("/")


def _widened(seen: set[str], digits: frozenset[str]) -> list[str]:
    """The characters that a place may have, from those that were seen there: where one digit is, all may be."""
    return sorted(seen | digits if seen & _DIGITS else seen)
