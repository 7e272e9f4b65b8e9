"""Cosines of pairs of items: what `/v1/score` and `/v1/rerank` have in common."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.serving.embedding import Embedded, Embedding, matrix
from pipeline.serving.inputs.items import ParsedItem


@dataclass(frozen=True, slots=True)
class ItemPairs:
    """Items on both sides; one on the left, or as many as on the right."""

    left: Sequence[ParsedItem]
    right: Sequence[ParsedItem]

    @property
    def items(self) -> Sequence[ParsedItem]:
        """Of both sides."""
        return [*self.left, *self.right]


async def cosines(embedding: Embedding, pairs: ItemPairs) -> tuple[list[float], list[Embedded]]:
    """The cosine of each pair, and what was embedded for them. Raises ApiError."""
    embedded = await embedding.vectors(pairs.items)
    left, right = matrix(embedded[: len(pairs.left)]), matrix(embedded[len(pairs.left) :])
    products = (left * right).astype(np.float64)
    return products.sum(axis=1).tolist(), embedded


def new_id(kind: str) -> str:
    """An id for an answer, as other servers give one."""
    return f"{kind}-{uuid.uuid4().hex}"
