"""Computes the factors of one pass of Pillow's bicubic resize, in Pillow's own arithmetic.

In: the sizes of an axis before and after. Out: for each new pixel, which old ones it is made of and their factors in
fixed point. Every operation is done in double precision and in Pillow's order, so the rounded factors are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

#: Fractional bits of a factor.
BITS = 22
_SUPPORT = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """Factors of one axis.

    Attributes:
        bounds: (N, 2) int32; the first old pixel of each new one, and their number.
        values: (N, K) int32, the factors times 2**BITS; zeros behind a pixel's number of old ones.
    """

    bounds: npt.NDArray[np.int32]
    values: npt.NDArray[np.int32]


@lru_cache(maxsize=512)
def factors(before: int, after: int) -> Factors:
    """The factors for an axis of `before` pixels that becomes `after` pixels long."""
    scale = before / after
    stretch = max(scale, 1.0)
    support = _SUPPORT * stretch
    centre = (np.arange(after) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), before) - first
    taps = np.arange(math.ceil(support) * 2 + 1)[:, None]
    weights = _bicubic(np.abs(((taps + first) - centre + 0.5) * (1.0 / stretch)))
    weights[taps >= count] = 0
    total = weights[0].copy()
    for row in weights[1:]:  # one after the other: numpy's sum adds in another order
        total += row
    weights /= total
    weights *= 1 << BITS
    weights += np.copysign(0.5, weights)
    return Factors(np.stack([first, count], axis=1).astype(np.int32), np.ascontiguousarray(weights.T, dtype=np.int32))


def _bicubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The cubic convolution with a = -0.5 at distances `x`, evaluated as in Pillow."""
    value = (((x - 5) * x + 8) * x - 4) * -0.5
    value[x >= _SUPPORT] = 0
    np.copyto(value, (x * 1.5 - 2.5) * x * x + 1, where=x < 1)
    return value
