"""Perceptual hashes that are near each other, all of them, without comparing every pair.

In: distinct 64-bit hashes. Out: the pairs that differ in at most `radius` bits. The bits are cut into m bands; two
hashes that differ in r bits agree in at least m - r whole bands, so only hashes that agree in some choice of m - r
bands are compared. More bands mean more choices and fewer chance meetings; m is what costs least for their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb, log2

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.rows import Numbers

Hashes = npt.NDArray[np.uint64]

_BITS = 64
_MOST_CHOICES = 800
_MERGE_PAIRS = 2**22
#: Sorting a hash costs about this many comparisons of two, for each bit of their number.
_SORT = 4.0


def near_hashes(hashes: Hashes, radius: int) -> tuple[Numbers, Numbers]:
    """Places (i, j), i < j, of all pairs of `hashes` that differ in at most `radius` bits, sorted.

    Args:
        hashes: distinct ones; equal hashes would make pairs without end.
        radius: of the Hamming distance, at least 0.
    """
    if radius == 0 or len(hashes) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    bands = _bands(len(hashes), radius)
    pairs, waiting, count = np.empty(0, np.int64), [], 0
    for chosen in combinations(_masks(bands), bands - radius):
        for first, second in _meetings(hashes, np.bitwise_or.reduce(np.array(chosen, np.uint64)), radius):
            waiting.append(first * len(hashes) + second)
            count += len(first)
            if count > _MERGE_PAIRS + len(pairs):  # a pair meets under many masks, and is to be held once
                pairs, waiting, count = np.unique(np.concatenate([pairs, *waiting])), [], 0
    pairs = np.unique(np.concatenate([pairs, *waiting]))
    return pairs // len(hashes), pairs % len(hashes)


def _bands(count: int, radius: int) -> int:
    """The number of bands that costs least."""

    def cost(bands: int) -> float:
        shared = _BITS * (bands - radius) / bands
        return comb(bands, radius) * (_SORT * count * log2(count) + count**2 / 2 ** (shared + 1))

    return min((m for m in range(radius + 1, _BITS // 4) if comb(m, radius) <= _MOST_CHOICES), key=cost)


def _masks(bands: int) -> list[int]:
    """`bands` masks that share out the 64 bits."""
    edges = [round(_BITS * i / bands) for i in range(bands + 1)]
    return [(1 << high) - (1 << low) for low, high in pairwise(edges)]


def _meetings(hashes: Hashes, mask: np.uint64, radius: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Near pairs among the hashes that agree under `mask`: each with its next in sorted order, its next but one, ..."""
    keys = hashes & mask
    order = np.argsort(keys, kind="stable")
    keys, hashes = keys[order], hashes[order]
    left, step = np.flatnonzero(keys[1:] == keys[:-1]), 1
    while len(left):
        near = left[np.bitwise_count(hashes[left] ^ hashes[left + step]) <= radius]
        first, second = order[near], order[near + step]
        yield np.minimum(first, second), np.maximum(first, second)
        step += 1
        left = left[left + step < len(keys)]
        left = left[keys[left] == keys[left + step]]
