"""The square has the bytes of Pillow 13's `resize`: from any Pillow and from the compiled kernels, in either order."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from PIL import Image

from pipeline.images.resizing import squash
from pipeline.images.resizing.kernels import Kernels
from pipeline.images.resizing.levels import is_vertical_first
from tests.fixtures.pictures import noise
from tests.fixtures.places import ROOT

#: Compiled once, and not where this file is only collected.
kernels = cache(squash.started_kernels)
#: Width, height and side next to the border between the two orders, and around the 16 bytes of a vector.
BORDER = [
    (w, h, s)
    for s, w in product((8, 24), (2, 7, 24, 31, 60))
    for h in (s - 1, s, s + 1, 2 * w - s, 2 * w - s + 1)
    if h > 0
]
SMALL = list(product((15, 16, 17, 33), (15, 16, 17, 40), (15, 16, 17)))
EXTREME = [(3000, 16, 16), (16, 3000, 32), (1, 700, 24), (700, 1, 24)]


def some_sizes(count: int) -> Iterator[tuple[int, int, int]]:
    """Sizes of all ratios, few of them large."""
    rng = random.Random(7)
    for _ in range(count):
        width, height, side = int(2 ** rng.uniform(4, 9)), int(2 ** rng.uniform(4, 9)), rng.choice([16, 33, 64])
        if width * height < 40_000:
            yield width, height, side


def as_pillow_13_does(image: Image.Image, side: int) -> Image.Image:
    square = image.resize((side, side), Image.Resampling.BICUBIC)
    return square if square.mode == "RGB" else square.convert("RGB")


@pytest.fixture(params=["Pillow", "kernels"])
def use(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels() is not None
    late = squash._LateKernels()
    late._left, late._kernels = (10**12, None) if request.param == "Pillow" else (0, kernels())
    monkeypatch.setattr(squash, "_fast", late)


@pytest.mark.usefixtures("use")
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_a_square_has_the_bytes_of_pillow_13(mode: str) -> None:
    orders = set()
    for width, height, side in [*BORDER, *SMALL, *EXTREME, *some_sizes(40)]:
        image = noise(mode, width, height)
        found = squash.squashed(image, side, squash.kernels_for(*image.size, side))
        assert (found.shape, found.flags.c_contiguous) == ((side, side, 3), True)
        np.testing.assert_array_equal(found, as_pillow_13_does(image, side), f"{width} x {height} to {side}")
        orders.add(is_vertical_first(width, height, side))
    assert orders == {True, False}


def test_pixels_that_pillow_cannot_show_in_one_piece_are_copied() -> None:
    image = noise("RGB", 2048, 2049)
    levels = squash._levels(image)
    assert levels.shape == (2049, 2048, 3)
    assert squash._levels(image.crop((0, 0, 40, 30))).shape == (30, 40, 4)
    assert kernels() is not None
    np.testing.assert_array_equal(kernels().squash(levels, 32, 3), as_pillow_13_does(image, 32))


def test_kernels_start_once_enough_pixels_came(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []
    monkeypatch.setattr(squash, "started_kernels", lambda: starts.append(1) or kernels())
    late = squash._LateKernels()
    assert [late.after(900_000) for _ in range(4)] == [None, None, kernels(), kernels()]
    assert len(starts) == 1


def raising(*_: object) -> Kernels:
    raise RuntimeError("unknown processor")


class Odd(Kernels):
    def squash(self, levels: squash.Levels, side: int, channels: int) -> squash.Levels:
        return super().squash(levels, side, channels) ^ 1


@pytest.mark.parametrize(
    ("made", "logged"), [(raising, "llvmlite cannot be used here (unknown processor)"), (Odd, "gives other pixels")]
)
def test_kernels_that_fail_or_give_other_pixels_are_not_used(
    made: Callable[[], Kernels], logged: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(squash, "Kernels", made)
    with caplog.at_level(logging.WARNING):
        assert squash.started_kernels() is None
    assert logged in caplog.text


_CODE = """
import ctypes, logging
from pipeline.images.resizing.squash import started_kernels
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE: memory that was writable cannot become executable
    raise SystemExit(77)
logging.basicConfig()
assert started_kernels() is None
"""


def test_where_new_code_may_not_run_pillow_does_the_work() -> None:
    found = subprocess.run([sys.executable, "-c", _CODE], capture_output=True, text=True, cwd=ROOT, check=False)
    if found.returncode == 77:
        pytest.skip("needs Linux 6.3")
    assert (found.returncode, found.stdout) == (0, "")
    assert "does not let a process run code that it compiled" in found.stderr


def test_without_llvmlite_pillow_does_the_work_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(squash, "_PACKAGE", "not_installed_here")
    assert squash.started_kernels() is None
    assert caplog.text == ""


def test_rows_that_pillow_aligns_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLOW_ALIGNMENT", "64")
    image = noise("RGB", 61, 40)
    np.testing.assert_array_equal(squash._levels(image), np.asarray(image))
