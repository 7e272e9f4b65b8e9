"""What several towers consist of: tables of vectors, and multi-head attention."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


def table(rows: int, width: int) -> nn.Embedding:
    """A table of vectors without values, which are loaded later; torch imports a lot to make random ones."""
    return nn.Embedding.from_pretrained(torch.empty(rows, width))


def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, heads: int, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Every head of every query attends to the keys.

    Args:
        query: (B, Q, C), projected.
        key: (B, L, C), projected.
        value: (B, L, C), projected.
        heads: each is C / heads wide.
        mask: (B, 1, Q, L) bool, true for the keys that count; None: all of them.

    Returns:
        (B, Q, C).
    """
    scale = (query.shape[2] // heads) ** -0.5
    query, key, value = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    merged: torch.Tensor = mixed.transpose(1, 2).flatten(2)
    return merged
