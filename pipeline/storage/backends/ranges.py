"""A range of the keys of a listing that is walked page by page, while others are walked at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pipeline.storage.backends.key_ranges import is_beyond
from pipeline.storage.backends.order import KeyOrder

#: Ranges are short, so that those that are read next are walked at once; the first guess has little to go by.
REACH_PAGES = 4


class Keyed(Protocol):
    """An entry of a listing."""

    @property
    def key(self) -> str:
        """The complete key."""


E = TypeVar("E", bound=Keyed)
Page = tuple[list[E], str]
#: A page of the keys with a prefix, behind a key or from a token on, and the token of the next page. Retries by itself.
FetchPage = Callable[[str, str, str], Page[E]]


@dataclass(slots=True, eq=False)
class KeyRange(Generic[E]):
    """The keys with a prefix, behind one key and up to another; walked page by page.

    Attributes:
        prefix: what all its keys begin with.
        asked_prefix: what its requests ask for; shorter if the range was cut down to a folder while it was walked.
        after: its first page is asked for behind this key.
        end: no key is behind it; None for the end of the prefix.
        last: the last key that was seen.
        token: of the next page.
        sample: keys of the latest page.
        is_new: no page of it was seen since it was cut down to a folder, so it may be short.
        is_whole: it cannot be split, as far as its latest page shows.
        reach_pages: how far ahead it is split.
        pages: pages that were not delivered yet.
        asked: the request on its way.
    """

    prefix: str
    asked_prefix: str
    after: str = ""
    end: str | None = None
    last: str = ""
    token: str = ""
    sample: list[str] = field(default_factory=list)
    is_new: bool = False
    is_whole: bool = False
    reach_pages: int = REACH_PAGES
    pages: deque[list[E]] = field(default_factory=deque)
    asked: Future[Page[E]] | None = None
    is_done: bool = False

    def name(self, key: str) -> str:
        """The name in the folder `prefix` of the file or folder that has a key."""
        return key[len(self.prefix) :].partition("/")[0]

    def continues(self, entries: list[E], order: KeyOrder) -> bool:
        """Whether the keys of the next page are in order, and behind those of the page before it."""
        keys = [self.last or self.after, *(entry.key for entry in entries)]
        self.last = keys[-1]
        return order.holds(keys)

    def take(self, entries: list[E]) -> list[E]:
        """The entries of a page that belong here; the range is done if there are others behind them."""
        end = self.end
        if entries and entries[-1].key.startswith(self.prefix) and (end is None or entries[-1].key <= end):
            return entries
        inside = []
        for entry in entries:
            if not entry.key.startswith(self.prefix) or (end is not None and is_beyond(entry.key, end)):
                self.is_done = True
                break
            if end is None or entry.key <= end:
                inside.append(entry)
        return inside
