"""Engines over a fake device: order, fairness, joining, late results, errors, the end.

The fake computes a pass when the test lets it, or at once. The feature of an image is its first value, that of a text
its first token.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from threading import Condition
from typing import Any, cast

import numpy as np
import pytest
import torch

from pipeline.errors import DeviceLostError, HanclipError
from pipeline.model.chinese_clip import ChineseClip
from pipeline.model.engine.contract import Features, InputRows, Kind, Pass, PassTooLargeError
from pipeline.model.engine.open import engine_for
from pipeline.model.tokenizer import TextRows
from pipeline.model.towers.build import LoadedTowers
from tests.fixtures.processes import until
from tests.fixtures.random_towers import random_weights, spec_for

WAIT_S = 10.0
POISON = 255


class FakeDevice:
    """Fits `fits` rows in a pass; a pass with the value `POISON` fails with `error` when it is awaited."""

    dim = 1

    def __init__(self, joins: bool = True, fits: int = 4, held: bool = False, error: Exception | None = None) -> None:
        self.joins, self.depth, self.fits = joins, 3 if joins else 1, fits
        self.rows = 4
        self.error = error or RuntimeError("a kernel failed")
        self.passes: list[Pass] = []
        self._changed = Condition()
        self._allowed = 0 if held else 10**9

    def capacity(self, kind: Kind) -> int:
        return self.rows

    def submit(self, work: Pass) -> Features:
        if work.rows > self.fits:
            self.rows = work.rows // 2
            raise PassTooLargeError
        with self._changed:
            self.passes.append(work)
            self._changed.notify_all()
        return np.concatenate([values(part) for part in work.parts])[:, None].astype(np.float32)

    def wait(self, handle: Features) -> Features:
        with self._changed:
            assert self._changed.wait_for(lambda: self._allowed, WAIT_S)
            self._allowed -= 1
        if POISON in handle:
            raise self.error
        return handle

    def finish(self, passes: int) -> None:
        with self._changed:
            self._allowed += passes
            self._changed.notify_all()

    def began(self, passes: int) -> list[str]:
        """The first so many passes, when they have begun: their kind and values."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.passes) >= passes, WAIT_S)
            return [
                f"{work.kind} {' '.join(str(n) for part in work.parts for n in values(part))}" for work in self.passes
            ]


def values(part: InputRows) -> Any:
    return part.ids[:, 0] if isinstance(part, TextRows) else part[:, 0, 0, 0]


def images(*numbers: int) -> InputRows:
    return np.array(numbers, np.uint8).reshape(-1, 1, 1, 1).repeat(3, axis=3)


def texts(*numbers: int) -> InputRows:
    return TextRows(np.array(numbers, np.int64)[:, None], np.ones(len(numbers), np.int64))


@pytest.fixture
def held() -> Iterator[tuple[FakeDevice, Any]]:
    """A device whose passes end when the test lets them, and its engine."""
    device = FakeDevice(held=True)
    engine = engine_for(device)
    yield device, engine
    device.finish(10**6)
    engine.close()


def numbers(future: Any) -> list[int]:
    return future.result(WAIT_S)[:, 0].astype(int).tolist()


@pytest.mark.parametrize("joins", [True, False])
def test_features_come_back_in_order_whatever_the_passes_are(joins: bool) -> None:
    device = FakeDevice(joins)
    engine = engine_for(device)
    rows = [(images, "image", range(n, n + n % 11 + 1)) for n in range(1, 60)]
    rows += [(texts, "text", range(n, n + n % 7 + 1)) for n in range(100, 160)]
    futures = [engine.submit(kind, make(*span)) for make, kind, span in rows]
    assert [numbers(future) for future in futures] == [list(span) for _, _, span in rows]
    assert max(work.rows for work in device.passes) <= 4
    engine.close()


def test_requests_are_not_joined_where_that_brings_nothing() -> None:
    device = FakeDevice(joins=False)
    engine = engine_for(device)
    engine.submit("image", images(1, 2, 3, 4, 5, 6))
    engine.submit("image", images(7))
    assert device.began(3) == ["image 1 2 3 4", "image 5 6", "image 7"]


def test_what_waits_goes_into_full_passes(held: tuple[FakeDevice, Any]) -> None:
    device, engine = held
    futures = [engine.submit("image", images(1))]
    device.began(1)
    futures.append(engine.submit("image", images(2, 3)))
    device.began(2)
    futures += [engine.submit("image", images(n, n + 1)) for n in (4, 6, 8)]  # the first two make a full pass
    assert device.began(3) == ["image 1", "image 2 3", "image 4 5 6 7"]
    device.finish(1)
    assert numbers(futures[0]) == [1]
    assert len(device.passes) == 3  # what is left is not full, and two passes are begun
    device.finish(1)
    assert device.began(4)[3] == "image 8 9"
    device.finish(2)
    assert [numbers(future) for future in futures[1:]] == [[2, 3], [4, 5], [6, 7], [8, 9]]


def test_passes_begin_before_the_last_one_is_awaited_up_to_the_depth(held: tuple[FakeDevice, Any]) -> None:
    device, engine = held
    future = engine.submit("image", images(*range(1, 17)))
    assert device.began(3) == ["image 1 2 3 4", "image 5 6 7 8", "image 9 10 11 12"]
    device.finish(1)
    assert device.began(4)[3] == "image 13 14 15 16"
    assert not future.done()
    device.finish(3)
    assert numbers(future) == list(range(1, 17))


def test_many_texts_do_not_hold_back_images(held: tuple[FakeDevice, Any]) -> None:
    device, engine = held
    engine.submit("text", texts(*range(1, 41)))
    device.began(3)
    image = engine.submit("image", images(*range(50, 58)))
    device.finish(4)
    device.began(7)
    device.finish(3)
    assert [name.split()[0] for name in device.began(7)[3:7]] == ["image", "text", "image", "text"]
    assert numbers(image) == list(range(50, 58))


@pytest.mark.parametrize("joins", [True, False])
def test_a_pass_that_does_not_fit_is_halved_for_good(joins: bool) -> None:
    device = FakeDevice(joins, fits=1)
    engine = engine_for(device)
    assert numbers(engine.submit("image", images(1, 2, 3, 4, 5))) == [1, 2, 3, 4, 5]
    assert numbers(engine.submit("text", texts(6, 7))) == [6, 7]
    assert [work.rows for work in device.passes] == [1] * 7
    engine.close()


def test_a_failed_pass_fails_only_the_requests_in_it() -> None:
    device = FakeDevice(held=True)
    engine = engine_for(device)
    first = engine.submit("image", images(1, 2, 3, 4))
    device.began(1)
    poisoned, later = engine.submit("image", images(POISON, 6)), engine.submit("text", texts(7))
    device.began(2)
    device.finish(3)
    assert (numbers(first), numbers(later)) == ([1, 2, 3, 4], [7])
    with pytest.raises(RuntimeError, match="a kernel failed"):
        poisoned.result(WAIT_S)
    device.finish(1)
    assert numbers(engine.submit("image", images(8))) == [8]
    engine.close()


def test_a_lost_device_fails_every_request_now_and_later() -> None:
    device = FakeDevice(held=True, error=DeviceLostError("gone"))
    engine = engine_for(device)
    futures = [engine.submit("image", images(POISON, *range(20))), engine.submit("text", texts(*range(9)))]
    device.began(3)
    device.finish(1)
    for future in [*futures, engine.submit("image", images(1))]:
        with pytest.raises(DeviceLostError, match="gone"):
            future.result(WAIT_S)
    device.finish(9)
    engine.close()


def test_errors_of_a_direct_engine_reach_the_caller() -> None:
    engine = engine_for(FakeDevice(joins=False, error=HanclipError("A single record does not fit")))
    with pytest.raises(HanclipError, match="single record"):
        engine.submit("image", images(POISON))
    assert numbers(engine.submit("image", images(1))) == [1]


def test_a_withdrawn_request_is_not_computed(held: tuple[FakeDevice, Any]) -> None:
    device, engine = held
    engine.submit("image", images(*range(1, 13)))
    device.began(3)
    withdrawn, kept = engine.submit("image", images(20)), engine.submit("image", images(21))
    assert withdrawn.cancel()
    device.finish(4)
    assert numbers(kept) == [21]
    with pytest.raises(CancelledError):
        withdrawn.result(0)
    assert device.began(4)[3] == "image 21"


def test_closing_finishes_what_was_submitted() -> None:
    device = FakeDevice()
    engine = engine_for(device)
    futures = [engine.submit("image", images(n, n + 1, n + 2)) for n in range(30)]
    engine.close()
    assert all(future.done() for future in futures)
    assert [numbers(future)[0] for future in futures] == list(range(30))


def test_an_encoder_that_nobody_holds_frees_its_device_once_what_was_submitted_is_computed() -> None:
    device, tokenizer = FakeDevice(held=True), cast(Any, None)
    clip = ChineseClip(
        LoadedTowers(random_weights(), torch.device("cpu"), torch.float32), device, tokenizer, spec_for()
    )
    vectors, left = clip.begin_images(np.asarray(images(3))), weakref.ref(device)
    device.began(1)
    del clip
    device.finish(1)
    del device
    assert vectors().tolist() == [[1.0]]
    until(lambda: left() is None, "the end of the engine's threads")
