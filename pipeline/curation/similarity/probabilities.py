"""Probabilities of texts for an image, out of their logits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def softmax(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(..., T) logits -> (..., T) shares, whose sum over the T texts is 1."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: npt.NDArray[np.float64] = odds / odds.sum(axis=-1, keepdims=True)
    return shares
