"""The square has the bytes of Pillow 13's `resize`, with the installed Pillow and in either order of passes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from pipeline.images.resizing.squash import is_vertical_first, squashed

#: Width, height and side next to the border between the two orders.
BORDER = [
    (w, h, s) for s in (8, 24) for w in (2, 7, 24, 31, 60) for h in (s - 1, s, s + 1, 2 * w - s, 2 * w - s + 1) if h > 0
]


def some_sizes(count: int) -> list[tuple[int, int, int]]:
    """Sizes of all ratios, few of them large."""
    rng = random.Random(7)
    sides = [
        (int(2 ** rng.uniform(0, 9)), int(2 ** rng.uniform(0, 9)), rng.choice([1, 7, 32, 64])) for _ in range(count)
    ]
    return [(w, h, side) for w, h, side in sides if w * h < 60_000]


def noise(mode: str, width: int, height: int) -> Image.Image:
    channels = Image.getmodebands(mode)
    levels = np.random.default_rng(width * height).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(levels[..., 0] if channels == 1 else levels, mode)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "YCbCr"])
def test_a_square_has_the_bytes_of_pillow_13(mode: str) -> None:
    orders = set()
    for width, height, side in [*BORDER, *some_sizes(60)]:
        image = noise(mode, width, height)
        expected = image.resize((side, side), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(squashed(image, side), expected, f"{width} x {height} to {side}")
        orders.add(is_vertical_first(width, height, side))
    assert orders == {True, False}
