"""Chooses which vectors of a dataset are searched or indexed: those of its images or those of its texts.

In: a dataset, and "images" or "texts" if a user named a side. Out: the side. Without a name it is the images, or the
texts in a dataset that has no images.
"""

from __future__ import annotations

from pipeline.curation.vectors import IMAGE, TEXT
from pipeline.dataset.dataset import Dataset
from pipeline.errors import UsageError
from pipeline.vocabulary import Side

#: Vector columns by the name that a user types.
SEARCHED: dict[Side, str] = {"images": IMAGE, "texts": TEXT}


def sides_of(dataset: Dataset) -> list[Side]:
    """The sides that have vectors."""
    return [side for side, vector in SEARCHED.items() if vector in dataset.identity.vector_columns]


def side_of(dataset: Dataset, wanted: Side | None) -> Side:
    """The side to search. Raises UsageError if the dataset has no vectors on the one that was named."""
    sides = sides_of(dataset)
    if wanted and wanted not in sides:
        raise UsageError(
            f"--in {wanted}: the records of the dataset at {dataset.uri} had no {wanted}. It has {sides[0]}: write "
            f"--in {sides[0]}, or leave --in out."
        )
    return wanted or sides[0]


def index_command(dataset: Dataset, vector: str) -> str:
    """The command that builds the index over a vector column of the dataset."""
    default = SEARCHED[side_of(dataset, None)]
    chosen = "" if vector == default else "".join(f" --in {side}" for side, name in SEARCHED.items() if name == vector)
    return f"hanclip index {dataset.uri}{chosen}"
