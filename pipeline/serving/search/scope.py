"""What of a dataset can be searched and shown: said by `/v1/models`, and checked in requests."""

from __future__ import annotations

from typing import Any

from pipeline.curation.search.sides import sides_of
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset


def answer_columns(dataset: Dataset) -> list[str]:
    """The columns that a request may name: all but vectors, and the key, which is a part of every answer."""
    hidden = {*KEY, *dataset.identity.vector_columns}
    return [name for name in dataset.identity.schema.names if name not in hidden]


def described(dataset: Dataset) -> dict[str, Any]:
    """The dataset for `/v1/models`, without the place where it is."""
    return {"column": sides_of(dataset), "with": answer_columns(dataset)}
