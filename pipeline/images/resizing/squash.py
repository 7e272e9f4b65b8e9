"""Squashes a picture to the model's square with Pillow's bicubic filter, one pass per axis.

In: a PIL image in mode L, RGB, CMYK or YCbCr. Out: the square in the same mode. The first pass rounds to 8 bits, so
which axis comes first is part of the result: up to a fifth of a tall picture's values differ by one level. Pillow chose
in another way before version 13; here it is always as in Pillow 13, whichever version is installed.
"""

from __future__ import annotations

from PIL import Image

_FILTER = Image.Resampling.BICUBIC


def squashed(image: Image.Image, side: int) -> Image.Image:
    """`image` as `side` x `side` pixels; the same bytes with every version of Pillow."""
    first = (image.width, side) if is_vertical_first(image.width, image.height, side) else (side, image.height)
    return image.resize(first, _FILTER).resize((side, side), _FILTER)


def is_vertical_first(width: int, height: int, side: int) -> bool:
    """Whether the rows are reduced before the columns: where the height shrinks by more than twice what the width does.

    Pillow 13 decides so (its pull request 9549), because the second pass then has less to do.
    """
    return height > side and height - side > 2 * (width - side)
