"""Lists a bucket with many requests in flight, in the order of a single walk.

A store returns a listing page by page, and each page names the next, so that one walk waits for every answer. But a
listing can start behind any key. The rest of a walk is split into two ranges, which are walked at once and split again:
in the names of a folder, at a guess of their middle (`key_ranges`); where all keys of a page are in one folder below,
at the end of that folder. A key belongs to one range, whatever is added meanwhile, so none is listed twice or missed.

Pages are delivered in order. At most 96 pages wait for their turn, and the walk whose turn is next is split first, so
requests stay near what is read next and memory is bounded, for 10^9 keys too. Requests in flight grow with the pages
that arrived: a folder of one page costs one request.

A listing without order has one walk. If that shows only in a later page, what was not delivered yet comes in one walk.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Generic

from pipeline.storage.backends.key_ranges import NameSpace, Reach, disputed_folders
from pipeline.storage.backends.order import KeyOrder
from pipeline.storage.backends.ranges import E, FetchPage, Keyed, KeyRange

_REQUESTS = 16
_RANGES = 3 * _REQUESTS
#: Most ranges have fewer pages, so that they are complete when their turn comes.
_PAGES_AHEAD = 6
_ALL_PAGES_AHEAD = 96
_SAMPLES = 16
_LONGEST_REACH_PAGES = 8
#: Keys of which is remembered that they were delivered, 100 bytes each, in case that they turn out to have no order.
_REMEMBERED = 100_000
#: After every key of a folder.
_LAST = "\U0010ffff"


class OutOfOrderError(Exception):
    """A store has no order, and showed it too late for a listing to go on without one."""


def list_in_parallel(fetch: FetchPage[E], prefix: str, is_unsorted: bool = False) -> Iterator[list[E]]:
    """The pages of all keys with `prefix`, in the store's order; one after the other if that is none.

    Args:
        fetch: sends a request.
        prefix: of the keys.
        is_unsorted: the store is known to have no order.

    Raises:
        OutOfOrderError: the store has no order, and showed it too late.
    """
    entries, token = fetch(prefix, "", "")
    yield entries
    order, delivered = KeyOrder(), set[int]()
    if token and not is_unsorted and order.holds([entry.key for entry in entries]):
        whole = KeyRange[E](
            prefix, prefix, last=entries[-1].key if entries else "", token=token, sample=_sample(entries)
        )
        try:
            yield from _remembered(_in_ranges(fetch, whole, order), delivered)
        except OutOfOrderError:
            if len(delivered) > _REMEMBERED:
                raise
        else:
            return
    while token:
        entries, token = fetch(prefix, "", token)
        yield [entry for entry in entries if hash(entry.key) not in delivered]


def _in_ranges(fetch: FetchPage[E], whole: KeyRange[E], order: KeyOrder) -> Iterator[list[E]]:
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="hanclip-list") as pool:
        walk = _Walk(fetch, pool, whole, order)
        try:
            yield from walk.pages()
        finally:
            walk.stop()


def _remembered(pages: Iterator[list[E]], delivered: set[int]) -> Iterator[list[E]]:
    """The pages; their keys are added to `delivered`, up to the first page that makes them more than `_REMEMBERED`."""
    for page in pages:
        if len(delivered) <= _REMEMBERED:
            delivered.update(hash(entry.key) for entry in page)
        yield page


def _sample(entries: Sequence[Keyed]) -> list[str]:
    """Some keys of a page, with its first and its last."""
    return [entry.key for entry in (*entries[:: max(1, len(entries) // _SAMPLES)], *entries[-1:])]


def _shared_folder(first: str, last: str) -> str:
    """The deepest folder that has both keys, with its slash; empty for the bucket itself."""
    same = next((place for place, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[: first[:same].rfind("/") + 1]


class _Walk(Generic[E]):
    """All ranges, in order, and the requests for their pages. Used by one thread, that of the reader."""

    def __init__(self, fetch: FetchPage[E], pool: ThreadPoolExecutor, whole: KeyRange[E], order: KeyOrder) -> None:
        self._fetch, self._pool, self._order = fetch, pool, order
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

    def _send(self, each: KeyRange[E]) -> None:
        each.asked = self._pool.submit(self._fetch, each.asked_prefix, each.after, each.token)

    def _collect(self) -> None:
        for each in self._ranges:
            if each.asked is None or not each.asked.done():
                continue
            entries, each.token = each.asked.result()
            each.asked = None
            if not each.continues(entries, self._order):
                raise OutOfOrderError
            inside = each.take(entries)
            each.is_done |= not each.token
            if inside:
                each.pages.append(inside)
                each.sample, each.is_new, each.is_whole = _sample(inside), False, False
                self._allowed = min(_REQUESTS, self._allowed + 1)
                self._learn(each)

    def _learn(self, each: KeyRange[E]) -> None:
        self._spaces[each.prefix].learn([each.name(key) for key in each.sample])

    def _split_first(self) -> KeyRange[E] | None:
        """Split what is left of the first range that is worth it; returns the new one behind it."""
        for place, each in enumerate(self._ranges):
            if each.is_whole or each.is_done or not each.sample:
                continue
            if behind := self._middle(each) or self._folder_end(each):
                self._ranges.insert(place + 1, behind)
                return behind
            each.is_whole = True
        return None

    def _folder_end(self, each: KeyRange[E]) -> KeyRange[E] | None:
        """What is behind the folder that has all keys of the latest page; the range keeps the rest of the folder."""
        folder = _shared_folder(each.sample[0], each.sample[-1])
        if len(folder) <= len(each.prefix):
            return None
        behind = KeyRange[E](each.prefix, each.prefix, folder + _LAST, each.end)
        each.prefix, each.end, each.is_new = folder, None, True
        self._learn(each)
        return behind

    def _middle(self, each: KeyRange[E]) -> KeyRange[E] | None:
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
        behind = KeyRange[E](each.prefix, each.prefix, each.prefix + name, each.end, reach_pages=_LONGEST_REACH_PAGES)
        each.end = behind.after
        return behind

    def _is_folder(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = bool(self._fetch(folder, "", "")[0])
        return self._folders[folder]
