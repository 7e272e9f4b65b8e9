"""Lists a bucket with many requests in flight, in the order of a single walk.

A store returns a listing page by page, and each page names the next, so that one walk waits for every answer. But a
listing can start behind any key. The rest of a walk is split into two ranges, which are walked at once and split again:
in the names of a folder, at a guess of their middle (`key_ranges`); where all keys of a page are in one folder below,
at the end of that folder. A key belongs to one range, whatever is added meanwhile, so none is listed twice or missed.

Pages are delivered in order. At most 96 pages wait for their turn, and the walk whose turn is next is split first, so
requests stay near what is read next and memory is bounded, for 10^9 keys too. Requests in flight grow with the pages
that arrived: a folder of one page costs one request.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from pipeline.storage.backends.key_ranges import NameSpace, Reach, disputed_folders, is_beyond

_REQUESTS = 16
_RANGES = 3 * _REQUESTS
#: Most ranges have fewer pages, so that they are complete when their turn comes.
_PAGES_AHEAD = 6
_ALL_PAGES_AHEAD = 96
_SAMPLES = 16
#: Ranges are short, so that those that are read next are walked at once; the first guess has little to go by.
_REACH_PAGES = 4
_LONGEST_REACH_PAGES = 8
#: After every key of a folder.
_LAST = "\U0010ffff"


class Keyed(Protocol):
    """An entry of a listing."""

    @property
    def key(self) -> str:
        """The complete key."""


E = TypeVar("E", bound=Keyed)
Page = tuple[list[E], str]
#: A page of the keys with a prefix, behind a key or from a token on, and the token of the next page. Retries by itself.
FetchPage = Callable[[str, str, str], Page[E]]


def list_in_parallel(fetch: FetchPage[E], prefix: str) -> Iterator[list[E]]:
    """The pages of all keys with `prefix`, in the store's order."""
    entries, token = fetch(prefix, "", "")
    yield entries
    if token and _is_in_order([entry.key for entry in entries], prefix):
        with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="hanclip-list") as pool:
            walk = _Walk(fetch, pool, _Range(prefix, prefix, token=token, sample=_sample(entries)))
            try:
                yield from walk.pages()
            finally:
                walk.stop()
        return
    while token:
        entries, token = fetch(prefix, "", token)
        yield entries


def _is_in_order(keys: Sequence[str], prefix: str) -> bool:
    """Whether a store lists in order, so that a listing can start in the middle: by bytes, or folder by folder."""
    names = [key[len(prefix) :].split("/") for key in keys]
    return all(map(str.__lt__, keys, keys[1:])) or all(map(list.__lt__, names, names[1:]))


def _sample(entries: Sequence[Keyed]) -> list[str]:
    """Some keys of a page, with its first and its last."""
    return [entry.key for entry in (*entries[:: max(1, len(entries) // _SAMPLES)], *entries[-1:])]


def _shared_folder(first: str, last: str) -> str:
    """The deepest folder that has both keys, with its slash; empty for the bucket itself."""
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first[:same].rfind("/") + 1]


@dataclass(slots=True, eq=False)
class _Range(Generic[E]):
    """The keys with a prefix, behind one key and up to another; walked page by page.

    Attributes:
        prefix: what all its keys begin with.
        asked_prefix: what its requests ask for; shorter if the range was cut down to a folder while it was walked.
        after: its first page is asked for behind this key.
        end: no key is behind it; None for the end of the prefix.
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
    token: str = ""
    sample: list[str] = field(default_factory=list)
    is_new: bool = False
    is_whole: bool = False
    reach_pages: int = _REACH_PAGES
    pages: deque[list[E]] = field(default_factory=deque)
    asked: Future[Page[E]] | None = None
    is_done: bool = False

    def name(self, key: str) -> str:
        """The name in the folder `prefix` of the file or folder that has a key."""
        return key[len(self.prefix) :].partition("/")[0]

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


class _Walk(Generic[E]):
    """All ranges, in order, and the requests for their pages. Used by one thread, that of the reader."""

    def __init__(self, fetch: FetchPage[E], pool: ThreadPoolExecutor, whole: _Range[E]) -> None:
        self._fetch, self._pool = fetch, pool
        self._ranges = [whole]
        self._spaces: defaultdict[str, NameSpace] = defaultdict(NameSpace)
        self._folders: dict[str, bool] = {}
        self._allowed = 2
        self._learn(whole)

    def pages(self) -> Iterator[list[E]]:
        """The pages of all ranges, in order."""
        while self._ranges:
            self._ask()
            head = self._ranges[0]
            if head.pages:
                yield head.pages.popleft()
            elif head.is_done:
                del self._ranges[0]
            else:
                wait([each.asked for each in self._ranges if each.asked], return_when=FIRST_COMPLETED)
            self._collect()

    def stop(self) -> None:
        """Send nothing more."""
        for each in self._ranges:
            if each.asked:
                each.asked.cancel()

    def _ask(self) -> None:
        """Send as many requests as are allowed, those first whose keys are read first."""
        free = self._allowed - sum(each.asked is not None for each in self._ranges)
        room = _ALL_PAGES_AHEAD - sum(len(each.pages) for each in self._ranges)
        for each in self._ranges:
            if free > 0 and not each.is_done and each.asked is None and len(each.pages) < _PAGES_AHEAD:
                self._send(each)
                free -= 1
            if room <= 0:
                return  # but the range whose turn it is goes on
        while free > 0 and len(self._ranges) < _RANGES and (behind := self._split_first()):
            self._send(behind)
            free -= 1

    def _send(self, each: _Range[E]) -> None:
        each.asked = self._pool.submit(self._fetch, each.asked_prefix, each.after, each.token)

    def _collect(self) -> None:
        for each in self._ranges:
            if each.asked is None or not each.asked.done():
                continue
            entries, each.token = each.asked.result()
            each.asked = None
            inside = each.take(entries)
            each.is_done |= not each.token
            if inside:
                each.pages.append(inside)
                each.sample, each.is_new, each.is_whole = _sample(inside), False, False
                self._allowed = min(_REQUESTS, self._allowed + 1)
                self._learn(each)

    def _learn(self, each: _Range[E]) -> None:
        self._spaces[each.prefix].learn([each.name(key) for key in each.sample])

    def _split_first(self) -> _Range[E] | None:
        """Split what is left of the first range that is worth it; returns the new one behind it."""
        for place, each in enumerate(self._ranges):
            if each.is_whole or each.is_done or not each.sample:
                continue
            if behind := self._middle(each) or self._folder_end(each):
                self._ranges.insert(place + 1, behind)
                return behind
            each.is_whole = True
        return None

    def _folder_end(self, each: _Range[E]) -> _Range[E] | None:
        """What is behind the folder that has all keys of the latest page; the range keeps the rest of the folder."""
        folder = _shared_folder(each.sample[0], each.sample[-1])
        if len(folder) <= len(each.prefix):
            return None
        behind = _Range[E](each.prefix, each.prefix, folder + _LAST, each.end)
        each.prefix, each.end, each.is_new = folder, None, True
        self._learn(each)
        return behind

    def _middle(self, each: _Range[E]) -> _Range[E] | None:
        """What is behind the presumed middle of the names to come; the range keeps the rest."""
        if each.is_new:
            return None
        end = None if each.end is None else each.end[len(each.prefix) :]
        first, last = each.name(each.sample[0]), each.name(each.sample[-1])
        before = each.name(each.after) if first == last and each.after.startswith(each.prefix) else first
        name = self._spaces[each.prefix].split(
            before.rstrip(_LAST), last, end, Reach(int(each.asked is not None), each.reach_pages)
        )
        if name is None or each.prefix + name <= each.sample[-1]:
            return None
        if any(self._is_folder(f"{each.prefix}{folder}/") for folder in disputed_folders(name)):
            return None
        behind = _Range[E](each.prefix, each.prefix, each.prefix + name, each.end, reach_pages=_LONGEST_REACH_PAGES)
        each.end = behind.after
        return behind

    def _is_folder(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = bool(self._fetch(folder, "", "")[0])
        return self._folders[folder]
