"""Pixels as arrays, and the order of the two passes of a resize: part of its result, as the first rounds to 8 bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

#: (H, W, C) uint8 pixels.
Levels = npt.NDArray[np.uint8]


def is_vertical_first(width: int, height: int, side: int) -> bool:
    """Whether the rows are reduced before the columns: where the height shrinks by more than twice what the width does.

    Pillow decides so from version 13 on (its pull request 9549), because the second pass then has less to do. Earlier
    versions never do, and up to a fifth of the values of such a picture differ by one level.
    """
    return height > side and height - side > 2 * (width - side)
