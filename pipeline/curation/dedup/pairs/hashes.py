"""Finds all perceptual hashes that are near each other, without comparing every pair.

In: distinct 64-bit hashes. Out: the pairs that differ in at most `radius` bits. The bits are split into m bands. Hashes
that differ in r bits agree in at least m - r whole bands, so only hashes that agree in some choice of m - r bands are
compared. More bands mean more choices and fewer chance collisions; m is the cheapest for the number of hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise
from math import comb, log2

import numpy as np
import numpy.typing as npt

from pipeline.curation.dedup.rows import Indices
from pipeline.images.measures.phash import turned

Hashes = npt.NDArray[np.uint64]

_BITS = 64
_MOST_CHOICES = 800
_MERGE_PAIRS = 2**22
#: Cost of sorting one hash, in comparisons of two hashes, per bit of the number of hashes.
_SORT = 4.0


def near_hashes(hashes: Hashes, radius: int) -> tuple[Indices, Indices]:
    """Positions (i, j), i < j, of all pairs of `hashes` that differ in at most `radius` bits, sorted.

    Args:
        hashes: distinct; n equal ones would make n^2 pairs.
        radius: Hamming distance, at least 0.
    """
    if radius == 0 or len(hashes) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    bands = _bands(len(hashes), radius)
    pairs, pending, count = np.empty(0, np.int64), [], 0
    for chosen in combinations(_masks(bands), bands - radius):
        for first, second in _matches(hashes, np.bitwise_or.reduce(np.array(chosen, np.uint64)), radius):
            pending.append(first * len(hashes) + second)
            count += len(first)
            if count > _MERGE_PAIRS + len(pairs):  # a pair that matches under several masks is held once
                pairs, pending, count = np.unique(np.concatenate([pairs, *pending])), [], 0
    pairs = np.unique(np.concatenate([pairs, *pending]))
    return pairs // len(hashes), pairs % len(hashes)


def hash_bits(one: Hashes, other: Hashes) -> npt.NDArray[np.int8]:
    """The bits in which hashes differ."""
    bits: npt.NDArray[np.int8] = np.bitwise_count(one ^ other).astype(np.int8)
    return bits


def turned_bits(one: Hashes, other: Hashes) -> npt.NDArray[np.int8]:
    """The fewest bits between hashes and those of the other pictures, mirrored or rotated; 0 for equal hashes."""
    fewest: npt.NDArray[np.int8] = np.bitwise_count(turned(one) ^ other).min(axis=0).astype(np.int8)
    fewest[one == other] = 0
    return fewest


def _bands(count: int, radius: int) -> int:
    """The number of bands with the lowest cost."""

    def cost(bands: int) -> float:
        shared = _BITS * (bands - radius) / bands
        return comb(bands, radius) * (_SORT * count * log2(count) + count**2 / 2 ** (shared + 1))

    return min((m for m in range(radius + 1, _BITS // 4) if comb(m, radius) <= _MOST_CHOICES), key=cost)


def _masks(bands: int) -> list[int]:
    """`bands` masks that divide the 64 bits among them."""
    edges = [round(_BITS * i / bands) for i in range(bands + 1)]
    return [(1 << high) - (1 << low) for low, high in pairwise(edges)]


def _matches(hashes: Hashes, mask: np.uint64, radius: int) -> Iterator[tuple[Indices, Indices]]:
    """Near pairs among hashes that are equal under `mask`: neighbours in sorted order, then those two apart, ..."""
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
