"""Measures the quality of a picture, for filters: how sharp, bright, empty and colourful it is.

In: the decoded, model-sized pixels, and the names of the wanted signals. Out: a number for each. The same pixels give
the same numbers, alone or in a batch: sums are of whole numbers, which are exact in any order, and only the last steps
round. NumPy only, and little of it: a decoder does this for every picture.

A model-sized picture holds more than these numbers need, so it is sampled: luminance is that of 56 x 56 cells, each the
mean of a piece of one row (of 224 rows every fourth). Sharpness needs finer steps and takes the green of 112 x 112
pixels, most of luminance. Sizes that do not divide evenly are sampled at the nearest places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from pipeline.vocabulary import Signal

_Cells = npt.NDArray[np.uint8]
_CELLS, _PIXELS = 56, 112
_COUNT = _CELLS * _CELLS
#: Products are made in parts, which are too small for BLAS to start threads: one core is the decoder's.
_PARTS = 14
_LUMA = np.array([77, 150, 29], np.float32)  # of red, green and blue, in 256ths
_LEVELS = np.arange(256)
#: Levels below and above which a cell counts as dark or light.
DARK, LIGHT = 64, 240
_MOMENTS = np.stack([_LEVELS, _LEVELS**2, _LEVELS < DARK, _LEVELS > LIGHT]).astype(np.float64)
#: Cells of a border differ from its level by at most this: the noise of a JPEG.
_BORDER_NOISE = 8
#: Red against green, and twice yellow against blue.
_OPPONENTS = ((np.array([1, -1, 0], np.float32), 1), (np.array([1, 1, -2], np.float32), 2))
_FRACTION = 1 << 20  # of the whole numbers that stand for logarithms


def measure(pixels: npt.NDArray[np.uint8], wanted: Iterable[Signal]) -> dict[Signal, float]:
    """The wanted signals of (N, N, 3) uint8 RGB pixels; `Signal` says what each is."""
    picture = _Picture(pixels)
    return {signal: _SIGNALS[signal](picture) for signal in wanted}


class _Picture:
    """What several signals need, computed once."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels

    @cached_property
    def rows(self) -> npt.NDArray[np.float32]:
        """(56, M, 3): some rows, with all pixels if these are a multiple of 56, else with 56."""
        size = len(self.pixels)
        if size % _CELLS == 0:
            return self.pixels[:: size // _CELLS].astype(np.float32)
        return _sampled(self.pixels, _CELLS).astype(np.float32)

    @cached_property
    def cells(self) -> _Cells:
        """(56, 56) levels of luminance, 0 to 255."""
        width = self.rows.shape[1] // _CELLS
        pieces = self.rows.reshape(_PARTS, -1, 3 * width)
        levels = pieces @ _luma(width)  # whole numbers below 2**24, which float32 has all of
        levels += np.float32(128 * width)
        levels /= np.float32(256 * width)
        return levels.astype(np.uint8).reshape(_CELLS, _CELLS)

    @cached_property
    def counts(self) -> npt.NDArray[np.intp]:
        """(256,) how many cells have each level."""
        return np.bincount(self.cells.ravel(), minlength=256)

    @cached_property
    def moments(self) -> tuple[int, int, int, int]:
        """The sums of the cells' levels and of their squares, how many are dark, and how many light."""
        total, squares, dark, light = map(int, _MOMENTS @ self.counts)
        return total, squares, dark, light


@cache
def _luma(width: int) -> npt.NDArray[np.float32]:
    """Weights of the colours of so many pixels."""
    return np.tile(_LUMA, width)


def _sampled(pixels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """(count, count, 3): pixels at even distances."""
    places = np.arange(count) * len(pixels) // count
    return pixels[places[:, None], places]


def _sharpness(picture: _Picture) -> float:
    """Mean square of the Laplacian, whose mean is nearly 0: its variance."""
    step, rest = divmod(len(picture.pixels), _PIXELS)
    chosen = _sampled(picture.pixels, _PIXELS) if rest else picture.pixels[::step, ::step]
    levels = chosen[..., 1].astype(np.int16).ravel()
    edges = levels[_PIXELS:-_PIXELS] * np.int16(4)
    for neighbour in (levels[: -2 * _PIXELS], levels[2 * _PIXELS :], levels[_PIXELS - 1 : -_PIXELS - 1]):
        edges -= neighbour
    edges -= levels[_PIXELS + 1 : 1 - _PIXELS]
    inner = edges.reshape(-1, _PIXELS)
    inner[:, 0] = inner[:, -1] = 0  # their neighbours are in other rows
    found = edges.astype(np.float64)
    return sum(float(part @ part) for part in found.reshape(2, -1)) / (_PIXELS - 2) ** 2


def _variance(count: int, total: int, squares: int) -> float:
    return (count * squares - total * total) / (count * count)


def _contrast(picture: _Picture) -> float:
    total, squares, *_ = picture.moments
    return math.sqrt(_variance(_COUNT, total, squares)) / 255


def _entropy(picture: _Picture) -> float:
    whole, parts = _logarithms()[-1], _logarithms()[picture.counts].sum()
    return int(whole - parts) / (_FRACTION * _COUNT)


@cache
def _logarithms() -> npt.NDArray[np.int64]:
    """The values of n * log2(n) for n from 0 to the number of cells, as whole numbers."""
    values = [0, *(round(n * math.log2(n) * _FRACTION) for n in range(1, _COUNT + 1))]
    return np.array(values, np.int64)


def _border(picture: _Picture) -> float:
    """Most pictures have no flat edge, which four lines show."""
    cells = picture.cells
    for line in (cells[0], cells[-1], cells[:, 0], cells[:, -1]):
        levels = line.tobytes()
        if abs(levels[0] - levels[-1]) > _BORDER_NOISE:
            continue
        least, most = min(levels), max(levels)
        if most - least <= _BORDER_NOISE:
            return 1 - _inner_share(cells, (most + least) // 2)
    return 0.0


def _inner_share(cells: _Cells, level: int) -> float:
    """Share of the smallest box that holds every cell that is not of this level."""
    least, most = max(level - _BORDER_NOISE, 0), min(level + _BORDER_NOISE, 255)
    other = (cells - np.uint8(least)) > np.uint8(most - least)  # levels below `least` wrap around
    rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
    if not len(rows):
        return 0.0
    return float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)) / cells.size


def _colorfulness(picture: _Picture) -> float:
    """The measure of Hasler and Süsstrunk (2003), over 14 rows of pixels."""
    colours = picture.rows[2::4]
    spread = level = 0.0
    for weights, scale in _OPPONENTS:
        opponent = (colours @ weights).astype(np.float64).ravel()  # whole numbers
        total, squares = int(opponent.sum()), int(opponent @ opponent)
        spread += _variance(len(opponent), total, squares) / scale**2
        level += (total / len(opponent) / scale) ** 2
    return math.sqrt(spread) + 0.3 * math.sqrt(level)


_SIGNALS: Mapping[Signal, Callable[[_Picture], float]] = {
    Signal.SHARPNESS: _sharpness,
    Signal.BRIGHTNESS: lambda picture: picture.moments[0] / (255 * _COUNT),
    Signal.CONTRAST: _contrast,
    Signal.DARK: lambda picture: picture.moments[2] / _COUNT,
    Signal.LIGHT: lambda picture: picture.moments[3] / _COUNT,
    Signal.ENTROPY: _entropy,
    Signal.BORDER: _border,
    Signal.COLORFULNESS: _colorfulness,
}
