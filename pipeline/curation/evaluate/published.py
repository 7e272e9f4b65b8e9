"""Published figures of Chinese CLIP and of the models it was compared with, each with its source.

In: `published.csv`, which is part of the package. Out: its rows, filtered by task, set and model. The released models
of Chinese CLIP have the names of their variants (`vit-b-16`); `model_key` derives these from a hub id or a file name.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.model.released import VARIANTS

Task = Literal["retrieval", "classification"]


class Figure(BaseModel):
    """A published result, in percent."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Task = Field(description="What was measured.")
    set: str = Field(description="Name of the data set, such as `muge`.")
    split: str = Field(description="Its split, such as `valid`.")
    direction: Literal["text-to-image", "image-to-text"] | None = Field(description="Of a retrieval.")
    setting: Literal["zero-shot", "fine-tuned"] = Field(description="Whether the model was trained on the set.")
    model: str = Field(description="Variant of Chinese CLIP, or another model's name.")
    r1: float | None = Field(description="R@1.")
    r5: float | None = Field(description="R@5.")
    r10: float | None = Field(description="R@10.")
    mean_recall: float | None = Field(description="Mean of the three, where it was published.")
    top1: float | None = Field(description="Accuracy of a classification.")
    source: str = Field(description="Where it was published.")


@cache
def all_figures() -> tuple[Figure, ...]:
    """Every row, in the order of the file."""
    text = (files("pipeline.curation.evaluate") / "published.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return tuple(Figure.model_validate({name: value or None for name, value in row.items()}) for row in rows)


def figures(task: Task | None = None, set: str | None = None, model: str | None = None) -> tuple[Figure, ...]:  # noqa: A002
    """The rows of a task, a set and a model; None stands for all."""
    return tuple(
        figure
        for figure in all_figures()
        if task in (None, figure.task) and set in (None, figure.set) and model in (None, figure.model)
    )


def sets(task: Task) -> tuple[str, ...]:
    """Names of the sets with figures for `task`."""
    return tuple(dict.fromkeys(figure.set for figure in figures(task)))


def model_key(name: str) -> str | None:
    """The model's name in the table, given a hub id, folder, `.pt` file or variant; None if it is not listed."""
    base = _base(name)
    for variant in VARIANTS:
        if base in (variant.name, _base(variant.hub_id), _base(variant.original)):
            return variant.name
    return next((figure.model for figure in all_figures() if figure.model == base), None)


def _base(name: str) -> str:
    """The last part of a hub id or path, in lower case, without `.pt`."""
    return re.split(r"[/\\]", name.rstrip("/\\"))[-1].lower().removesuffix(".pt")
