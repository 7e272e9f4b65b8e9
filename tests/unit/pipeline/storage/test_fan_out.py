"""Parallel listings: the keys and the order of a single walk, in stores of both orders, while keys are added."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import NamedTuple

import pytest

from pipeline.storage.backends import fan_out
from pipeline.storage.backends.fan_out import OutOfOrderError, list_in_parallel

PAGE_KEYS = 20


class Item(NamedTuple):
    key: str


class Store:
    """Keys in pages of `PAGE_KEYS`, in the order of their bytes or, like some servers, folder by folder."""

    def __init__(self, keys: list[str], by_folder: bool = False) -> None:
        self.order: Callable[[str], object] = (lambda key: key.split("/")) if by_folder else str.encode
        self.keys, self.requests, self.most = keys, 0, 0
        self.in_flight = threading.Semaphore(16)
        self.on_request: Callable[[], None] = lambda: None

    def fetch(self, prefix: str, after: str, token: str) -> tuple[list[Item], str]:
        assert self.in_flight.acquire(blocking=False), "more than 16 requests in flight"
        self.requests += 1
        self.on_request()
        behind = self.order(token or after)
        found = sorted((key for key in list(self.keys) if key.startswith(prefix)), key=self.order)
        if token or after:
            found = [key for key in found if self.order(key) > behind]
        page = found[:PAGE_KEYS]
        self.in_flight.release()
        return [Item(key) for key in page], page[-1] if len(found) > PAGE_KEYS else ""

    def walk(self, prefix: str = "") -> list[str]:
        return [item.key for page in list_in_parallel(self.fetch, prefix) for item in page]


DICE = random.Random(5)
LAYOUTS = {
    "numbers": [f"in/{number:07}.jpg" for number in range(900)],
    "hashes": [f"in/{DICE.getrandbits(64):016x}.jpg" for _ in range(900)],
    "cameras": [f"IMG-2024{DICE.randrange(1231):04}_{DICE.randrange(9999):04}.jpg" for _ in range(900)],
    "folders": [f"in/{DICE.randrange(40)}/{number}.jpg" for number in range(900)],
    "deep": [f"a/b/c/{number % 3}/d/{number:05}.jpg" for number in range(900)],
    "disputed": [f"in/part{DICE.choice(['', '-1', '-5', '-9', ' x', '.d'])}/{number:04}.jpg" for number in range(900)],
    "disputed names": [f"in/{number}{mark}" for number in range(300) for mark in ("/x.jpg", "-1.jpg", ".jpg", "~~/y")],
    "words": [f"目录/{DICE.choice('红黄蓝绿')}{DICE.choice('车花鸟鱼')}{number}.jpg" for number in range(900)],
    "odd": [f"d/{number:03}{'//' * (number % 7)}/../x{'/' * (number % 2)}" for number in range(900)],
    "lopsided": ["a.jpg", *(f"x/{number:06}" for number in range(880)), "z.jpg"],
}


@pytest.mark.parametrize("by_folder", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_parallel_listing_is_that_of_a_single_walk(layout: str, by_folder: bool) -> None:
    keys = sorted(set(LAYOUTS[layout]))
    store = Store(keys, by_folder)
    assert store.walk() == sorted(keys, key=store.order)  # type: ignore[arg-type]
    pages = -(-len(keys) // PAGE_KEYS)
    assert store.requests <= 2.5 * pages + 10


@pytest.mark.parametrize(("count", "requests"), [(0, 1), (PAGE_KEYS, 1), (2 * PAGE_KEYS, 3)])
def test_a_small_folder_costs_few_requests(count: int, requests: int) -> None:
    store = Store([f"in/{number:03}.jpg" for number in range(count)])
    assert len(store.walk("in/")) == count
    assert store.requests <= requests


def test_keys_that_are_added_meanwhile_cost_none_of_the_others() -> None:
    keys = [f"in/{number:05}.jpg" for number in range(0, 2000, 2)]
    before, store = list(keys), Store(keys)
    store.on_request = lambda: keys.append(f"in/{DICE.randrange(2000):05}/{len(keys)}.jpg")
    found = store.walk()
    assert set(before) <= set(found) <= set(keys)
    assert len(found) == len(set(found))


def test_a_store_without_order_is_listed_by_one_walk() -> None:
    keys = [f"{DICE.getrandbits(40):x}" for _ in range(300)]
    store = Store(keys)

    def fetch(_prefix: str, _after: str, token: str) -> tuple[list[Item], str]:
        start = int(token or 0)
        store.requests += 1
        end = start + PAGE_KEYS
        return [Item(key) for key in keys[start:end]], str(end) if end < len(keys) else ""

    assert [item.key for page in list_in_parallel(fetch, "") for item in page] == keys
    assert store.requests == 15


@pytest.mark.parametrize("in_order", [PAGE_KEYS, 5 * PAGE_KEYS + 7])
def test_a_store_that_shows_its_disorder_late_is_listed_once_all_the_same(in_order: int) -> None:
    keys = [f"in/{number:05}.jpg" for number in range(900)]
    rest = keys[in_order:]
    DICE.shuffle(rest)
    keys[in_order:] = rest

    def fetch(_prefix: str, _after: str, token: str) -> tuple[list[Item], str]:
        start = int(token or 0)
        end = start + PAGE_KEYS
        return [Item(key) for key in keys[start:end]], str(end) if end < len(keys) else ""

    assert sorted(item.key for page in list_in_parallel(fetch, "") for item in page) == sorted(keys)
    pages = list_in_parallel(fetch, "", is_unsorted=True)
    assert [item.key for page in pages for item in page] == keys


def test_disorder_after_more_keys_than_are_remembered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "_REMEMBERED", 50)
    store = Store([f"in/{number:05}.jpg" for number in range(900)])

    def fetch(prefix: str, after: str, token: str) -> tuple[list[Item], str]:
        items, following = store.fetch(prefix, after, token)
        return (items[::-1] if items and items[-1].key > "in/00700" else items), following

    with pytest.raises(OutOfOrderError):
        list(list_in_parallel(fetch, ""))


def test_an_error_of_any_request_ends_the_listing() -> None:
    store = Store([f"in/{number:05}.jpg" for number in range(900)])

    def fail() -> None:
        if store.requests > 9:
            raise ConnectionError

    store.on_request = fail
    with pytest.raises(ConnectionError):
        store.walk()


def test_a_listing_that_is_left_early_asks_for_no_more() -> None:
    store = Store([f"in/{number:05}.jpg" for number in range(900)])
    pages = list_in_parallel(store.fetch, "")
    assert len(next(pages)) == PAGE_KEYS
    pages.close()
    assert store.requests == 1
