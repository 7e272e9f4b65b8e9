"""Squashes a picture to the model's square with Pillow's bicubic filter, one pass per axis.

In: a PIL image in mode L, RGB, CMYK or YCbCr. Out: (side, side, 3) RGB, the same bytes whichever version of Pillow is
installed and whether or not the compiled kernels can be used: they are Pillow's arithmetic, and faster.
"""

from __future__ import annotations

import logging
import os
import threading
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.images.resizing.kernels import Kernels
from pipeline.images.resizing.levels import Levels, is_vertical_first

logger = logging.getLogger(__name__)

_FILTER = Image.Resampling.BICUBIC
_PACKAGE = "llvmlite"
_ALIGNMENT = "PILLOW_ALIGNMENT"
#: Pillow's resize takes 9 ms longer for a million pixels, and the kernels 120 ms to start: a process with few pictures
#: never starts them.
_PIXELS_BEFORE_KERNELS = 2_000_000


def kernels_for(width: int, height: int, side: int) -> Kernels | None:
    """The kernels for the next picture, which is counted; None if Pillow is to squash it."""
    kernels = _fast.after(width * height)
    return kernels if kernels is not None and kernels.take(width, height, side) else None


def squashed(image: Image.Image, side: int, kernels: Kernels | None) -> Levels:
    """(side, side, 3) uint8 RGB, C-contiguous: `image` resized in its own mode, then converted. Safe in threads."""
    if kernels is not None:
        levels = kernels.squash(_levels(image), side, Image.getmodebands(image.mode))
        return levels if image.mode == "RGB" else _rgb(Image.frombytes(image.mode, (side, side), levels))
    return _rgb(squashed_by_pillow(image, side))


def squashed_levels(levels: Levels, side: int, kernels: Kernels) -> Levels:
    """The same for (H, W, 1 or 3) uint8, grey or RGB."""
    square = kernels.squash(levels, side, levels.shape[2])
    return square if square.shape[2] == 3 else square.repeat(3, axis=2)


def _rgb(square: Image.Image) -> Levels:
    return np.ascontiguousarray(square if square.mode == "RGB" else square.convert("RGB"), dtype=np.uint8)


def squashed_by_pillow(image: Image.Image, side: int) -> Image.Image:
    """`image` as `side` x `side` pixels in its own mode. One call of `resize` would leave the order to Pillow."""
    first = (image.width, side) if is_vertical_first(image.width, image.height, side) else (side, image.height)
    return image.resize(first, _FILTER).resize((side, side), _FILTER)


def _levels(image: Image.Image) -> Levels:
    """(H, W, C) uint8; Pillow's own memory where it is in one piece, and then RGB has a fourth channel without meaning.

    Pillow keeps more than 16 MB of pixels in several pieces, and shows its memory from version 11.2 on. If it aligns
    rows, as the environment may ask, there are gaps between them, which it shows as pixels before version 13.
    """
    try:
        shown = None if _ALIGNMENT in os.environ else pa.array(image)
    except (TypeError, ValueError, pa.ArrowException):
        shown = None
    if shown is None:
        return np.asarray(image).reshape(image.height, image.width, -1)
    values = shown.values if isinstance(shown, pa.FixedSizeListArray) else shown
    levels: Levels = values.to_numpy(zero_copy_only=True).reshape(image.height, image.width, -1)
    return levels


class _LateKernels:
    """The kernels, from the moment on at which so many pixels were squashed that they pay."""

    def __init__(self) -> None:
        self._left = _PIXELS_BEFORE_KERNELS
        self._starting = threading.Lock()
        self._kernels: Kernels | None = None

    def after(self, pixels: int) -> Kernels | None:
        """The kernels if they have started, counting a picture of so many pixels; None where Pillow does the work."""
        if self._kernels is None and self._left > 0:
            with self._starting:
                self._left -= pixels
                if self._left <= 0:
                    self._kernels = started_kernels()
        return self._kernels


_fast = _LateKernels()


def started_kernels() -> Kernels | None:
    """The kernels, compared with Pillow; None if they are not installed, or anything about them is odd."""
    if find_spec(_PACKAGE) is None:
        return None
    try:
        kernels = Kernels()
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        logger.warning("Pictures are resized by Pillow, which is slower: %s cannot be used here (%s)", _PACKAGE, error)
        return None
    if all(_same_as_pillow(kernels, *probe) for probe in ((3, 61, 40), (3, 19, 90), (4, 40, 40), (1, 57, 23))):
        return kernels
    logger.warning(
        "Pictures are resized by Pillow, which is slower: the code that %s made gives other pixels", _PACKAGE
    )
    return None


def _same_as_pillow(kernels: Kernels, channels: int, width: int, height: int) -> bool:
    levels = (np.arange(height * width * channels, dtype=np.uint32) * 2654435761 >> 24).astype(np.uint8)
    levels = levels.reshape(height, width, channels)
    image = Image.frombytes({1: "L", 3: "RGB", 4: "CMYK"}[channels], (width, height), levels)
    expected = np.asarray(squashed_by_pillow(image, 24)).reshape(24, 24, channels)
    return bool(np.array_equal(kernels.squash(levels, 24, channels), expected))
