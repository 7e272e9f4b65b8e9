"""Measures the quality of pictures, for filters: how sharp, bright, empty and colourful each is.

In: the decoded, model-sized pixels of some pictures, and the names of the wanted signals. Out: a number for each. The
same pixels give the same numbers, whatever else is measured with them: sums are of whole numbers, which are exact in
any order, and only the last steps round. NumPy only, and little of it: a decoder does this for every picture.

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

_Numbers = npt.NDArray[np.float64]
_CELLS, _PIXELS = 56, 112
_COUNT = _CELLS * _CELLS
#: Pictures that are measured at once. Of one, most of the time is the cost of numpy's calls; many do not fit into the
#: processor's caches.
_AT_ONCE = 8
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
#: How many squares have a sum below 2**24, which float32 holds: of edges up to 1,020, and of opponents up to 510.
_OF_EDGES, _OF_OPPONENTS = 16, 49
_FRACTION = 1 << 20  # of the whole numbers that stand for logarithms


def measure(pixels: npt.NDArray[np.uint8], wanted: Iterable[Signal]) -> dict[Signal, list[float]]:
    """The wanted signals of (B, N, N, 3) uint8 RGB pictures, B numbers of each; `Signal` says what each is."""
    found: dict[Signal, list[float]] = {signal: [] for signal in wanted}
    for start in range(0, len(pixels), _AT_ONCE):
        some = _Pictures(pixels[start : start + _AT_ONCE])
        for signal, values in found.items():
            values += _SIGNALS[signal](some)
    return found


class _Pictures:
    """What several signals need of B pictures, computed once."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self.pixels = pixels

    @property
    def side(self) -> int:
        """Rows and columns of each."""
        return len(self.pixels[0])

    @cached_property
    def rows(self) -> npt.NDArray[np.float32]:
        """(B, 56, M, 3): some rows, with all pixels if these are a multiple of 56, else with 56."""
        if self.side % _CELLS == 0:
            return self.pixels[:, :: self.side // _CELLS].astype(np.float32)
        return _sampled(self.pixels, _CELLS).astype(np.float32)

    @cached_property
    def cells(self) -> npt.NDArray[np.uint8]:
        """(B, 56, 56) levels of luminance, 0 to 255."""
        width = self.rows.shape[2] // _CELLS
        pieces = self.rows.reshape(len(self.pixels) * _PARTS, -1, 3 * width)
        levels = pieces @ _luma(width)  # whole numbers below 2**24, which float32 has all of
        levels += np.float32(128 * width)
        levels /= np.float32(256 * width)
        return levels.astype(np.uint8).reshape(-1, _CELLS, _CELLS)

    @cached_property
    def counts(self) -> npt.NDArray[np.intp]:
        """(B, 256) how many cells have each level."""
        count = len(self.pixels)
        places = self.cells.reshape(count, -1) + 256 * np.arange(count)[:, None]
        return np.bincount(places.ravel(), minlength=256 * count).reshape(count, 256)

    @cached_property
    def moments(self) -> _Numbers:
        """(4, B) the sums of the cells' levels and of their squares, how many are dark, and how many light."""
        return _MOMENTS @ self.counts.T


@cache
def _luma(width: int) -> npt.NDArray[np.float32]:
    """Weights of the colours of so many pixels."""
    return np.tile(_LUMA, width)


def _sampled(pixels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    """(B, count, count, 3): pixels at even distances."""
    places = np.arange(count) * pixels.shape[1] // count
    return pixels[:, places[:, None], places]


def _sharpness(pictures: _Pictures) -> list[float]:
    """Mean square of the Laplacian, whose mean is nearly 0: its variance."""
    step, rest = divmod(pictures.side, _PIXELS)
    chosen = _sampled(pictures.pixels, _PIXELS) if rest else pictures.pixels[:, ::step, ::step]
    levels = chosen[..., 1].astype(np.int16, order="C").reshape(len(chosen), -1)
    edges = levels[:, _PIXELS:-_PIXELS] * np.int16(4)
    edges -= levels[:, : -2 * _PIXELS]
    edges -= levels[:, 2 * _PIXELS :]
    edges -= levels[:, _PIXELS - 1 : -_PIXELS - 1]
    edges -= levels[:, _PIXELS + 1 : 1 - _PIXELS]
    inner = edges.reshape(-1, _PIXELS)
    inner[:, 0] = inner[:, -1] = 0  # their neighbours are in other rows
    return list((_squares(edges.astype(np.float32), _OF_EDGES) / (_PIXELS - 2) ** 2).tolist())


def _squares(values: npt.NDArray[np.float32], parts: int) -> _Numbers:
    """(B,) the sums of the squares of (B, M) whole numbers, added in float32 as long as it holds the sums exactly."""
    squares = (values * values).reshape(len(values), parts, -1)
    total: _Numbers = squares.sum(axis=1).sum(axis=1, dtype=np.float64)
    return total


def _variance(count: int, total: _Numbers, squares: _Numbers) -> _Numbers:
    return (count * squares - total * total) / (count * count)


def _contrast(pictures: _Pictures) -> list[float]:
    total, squares, *_ = pictures.moments
    return list((np.sqrt(_variance(_COUNT, total, squares)) / 255).tolist())


def _entropy(pictures: _Pictures) -> list[float]:
    whole, parts = _logarithms()[-1], _logarithms()[pictures.counts].sum(axis=1)
    return list(((whole - parts) / (_FRACTION * _COUNT)).tolist())


@cache
def _logarithms() -> npt.NDArray[np.int64]:
    """The values of n * log2(n) for n from 0 to the number of cells, as whole numbers."""
    values = [0, *(round(n * math.log2(n) * _FRACTION) for n in range(1, _COUNT + 1))]
    return np.array(values, np.int64)


def _border(pictures: _Pictures) -> list[float]:
    """Most pictures have no flat edge, which four lines show."""
    cells = pictures.cells
    lines = np.stack([cells[:, 0], cells[:, -1], cells[:, :, 0], cells[:, :, -1]])
    least, most = lines.min(axis=2), lines.max(axis=2)
    flat = most - least <= _BORDER_NOISE
    found = [0.0] * len(cells)
    for place in np.flatnonzero(flat.any(axis=0)).tolist():
        line = flat[:, place].argmax()
        level = (int(most[line, place]) + int(least[line, place])) // 2
        found[place] = 1 - _inner_share(cells[place], level)
    return found


def _inner_share(cells: npt.NDArray[np.uint8], level: int) -> float:
    """Share of the smallest box that holds every cell that is not of this level."""
    least, most = max(level - _BORDER_NOISE, 0), min(level + _BORDER_NOISE, 255)
    other = (cells - np.uint8(least)) > np.uint8(most - least)  # levels below `least` wrap around
    rows, columns = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
    if not len(rows):
        return 0.0
    return float((rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)) / cells.size


def _colorfulness(pictures: _Pictures) -> list[float]:
    """The measure of Hasler and Süsstrunk (2003), over 14 rows of pixels."""
    colours = pictures.rows[:, 2::4]
    spread = level = np.zeros(len(colours))
    for weights, scale in _OPPONENTS:
        opponent = (colours @ weights).reshape(len(colours), -1)  # whole numbers, and so are their sums
        count, total = opponent.shape[1], opponent.sum(axis=1).astype(np.float64)
        spread = spread + _variance(count, total, _squares(opponent, _OF_OPPONENTS)) / scale**2
        level = level + (total / count / scale) ** 2
    return list((np.sqrt(spread) + 0.3 * np.sqrt(level)).tolist())


def _share(place: int, of: int) -> Callable[[_Pictures], list[float]]:
    """One of the moments, as a share."""
    return lambda pictures: list((pictures.moments[place] / of).tolist())


_SIGNALS: Mapping[Signal, Callable[[_Pictures], list[float]]] = {
    Signal.SHARPNESS: _sharpness,
    Signal.BRIGHTNESS: _share(0, 255 * _COUNT),
    Signal.CONTRAST: _contrast,
    Signal.DARK: _share(2, _COUNT),
    Signal.LIGHT: _share(3, _COUNT),
    Signal.ENTROPY: _entropy,
    Signal.BORDER: _border,
    Signal.COLORFULNESS: _colorfulness,
}
