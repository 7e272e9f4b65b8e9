"""Computes a perceptual hash: 64 bits that stay nearly the same when an image is resized or re-encoded.

In: the decoded, model-sized pixels. Out: an integer that fits a uint64; the number of differing bits measures how
different two images look. NumPy only.
"""

from __future__ import annotations

from functools import cache
from math import gcd

import numpy as np
import numpy.typing as npt

_CELLS = 32  # the image is reduced to 32 x 32 grey cells
_FREQUENCIES = 8  # its 8 x 8 lowest frequencies give one bit each
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_ODD_COLUMNS, _ODD_ROWS = np.uint64(0x5555555555555555), np.uint64(0x00FF00FF00FF00FF)
_SWAPS = [
    (np.uint64(7), np.uint64(0x00AA00AA00AA00AA)),
    (np.uint64(14), np.uint64(0x0000CCCC0000CCCC)),
    (np.uint64(28), np.uint64(0x00000000F0F0F0F0)),
]
_POWERS = np.left_shift(np.uint64(1), np.arange(63, -1, -1, dtype=np.uint64))


def phash(pixels: npt.NDArray[np.uint8]) -> int:
    """64-bit DCT hash of (N, N, 3) uint8 RGB pixels.

    A bit is set if the frequency's coefficient is above the median of the 63 non-constant ones. The first bit in row
    order, of the constant (the mean grey), is the most significant one and is set unless the image is black.
    Coefficients are first rounded to whole levels, so that noise below one level flips no bits of a uniform image.
    """
    cosines = _cosines()
    coefficients = np.rint(cosines @ _grey_cells(pixels) @ cosines.T).ravel()
    median = np.partition(coefficients[1:], 31)[31]
    bits = coefficients > median
    return int(_POWERS[bits].sum())


def turned(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """(7, N) the hashes that N pictures would roughly have if they were mirrored, rotated by quarters, or both.

    A mirror negates the coefficients of odd frequencies, a transposition swaps rows and columns. The latter is exact. A
    negated coefficient falls on the other side of the median only if it is farther from zero than the median is, so
    that of most pictures a few bits are wrong.
    """
    flipped, sides, rows = _transposed(hashes), _ODD_COLUMNS, _ODD_ROWS
    mirrored = [hashes ^ sides, hashes ^ rows, hashes ^ sides ^ rows]
    return np.stack([*mirrored, flipped, flipped ^ sides, flipped ^ rows, flipped ^ sides ^ rows])


def _transposed(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The 8 x 8 bits with rows and columns swapped: blocks of one bit, of two by two, and of four by four."""
    for shift, mask in _SWAPS:
        changed = (hashes ^ (hashes >> shift)) & mask
        hashes = hashes ^ changed ^ (changed << shift)
    return hashes


def _grey_cells(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Exact area averages, (32, 32) float32 in levels 0 to 255.

    If N is not a multiple of 32, rows and columns are repeated until it is. Rows are summed as integers, all colours at
    once: converting every pixel to grey first takes ten times as long.
    """
    size = pixels.shape[0]
    repeat = _CELLS // gcd(size, _CELLS)
    height = size * repeat // _CELLS
    rows = pixels.reshape(size, 3 * size)
    if repeat > 1:
        rows = rows.repeat(repeat, axis=0)
    integer = np.uint16 if height * 255 < 2**16 else np.uint32
    bands = rows.reshape(_CELLS, height, 3 * size).sum(axis=1, dtype=integer)
    grey = bands.reshape(_CELLS, size, 3).astype(np.float32) @ _LUMA
    if repeat > 1:
        grey = grey.repeat(repeat, axis=1)
    mean: npt.NDArray[np.float32] = grey.reshape(_CELLS, _CELLS, height).sum(axis=2) / np.float32(height**2)
    return mean


@cache
def _cosines() -> npt.NDArray[np.float32]:
    """The first 8 rows of the orthonormal 32-point DCT-II."""
    position = (np.arange(_CELLS) + 0.5) * np.pi / _CELLS
    rows = np.cos(np.arange(_FREQUENCIES)[:, None] * position) * np.sqrt(2 / _CELLS)
    rows[0] /= np.sqrt(2)
    cosines: npt.NDArray[np.float32] = rows.astype(np.float32)
    return cosines
