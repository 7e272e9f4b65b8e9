"""Builds the zero-shot classifier: a vector for each class, as in the published evaluation.

Every template is filled with each name of a class and encoded to a vector of norm 1; the normalised mean of these
vectors represents the class. The tokenizer handles lower case, quotes and the limit of 52 tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.templates import prompts
from pipeline.curation.vectors import Vectors
from pipeline.errors import ModelError
from pipeline.phases import OnRows

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip

_PROMPTS_AT_ONCE = 1024


def count_prompts(classes: Classes, templates: Sequence[str]) -> int:
    """How many texts `class_vectors` encodes."""
    return sum(len(classes.synonyms[number]) for number in set(classes.first_equals)) * len(templates)


def class_vectors(encoder: ChineseClip, classes: Classes, templates: Sequence[str], on_rows: OnRows) -> Vectors:
    """(C, D) float32 of norm 1, a row for each class. Equal classes are encoded once, so that their rows are equal.

    Args:
        encoder: the dataset's model.
        classes: all names of a class have the same weight.
        templates: a repeated template counts repeatedly.
        on_rows: called with the number of texts encoded since the last call.

    Raises:
        ModelError: the model gives no finite vector for a class.
    """
    sums = np.zeros((len(classes), encoder.dim), np.float64)
    texts = class_prompts(classes, templates)
    while batch := list(islice(texts, _PROMPTS_AT_ONCE)):
        vectors = encoder.encode_texts([text for _, text in batch])
        np.add.at(sums, [number for number, _ in batch], vectors)
        on_rows(len(batch))
    return class_means(classes, sums)


def class_prompts(classes: Classes, templates: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The texts that are encoded, each with the number of its class. Of equal classes the first one has them."""
    first = classes.first_equals
    for number, names in enumerate(classes.synonyms):
        if first[number] == number:
            for name in names:
                for text in prompts(name, templates):
                    yield number, text


def class_means(classes: Classes, sums: npt.NDArray[np.float64]) -> Vectors:
    """(C, D) float32 of norm 1, from the sums of the vectors of each class's prompts, (C, D).

    Raises:
        ModelError: a sum has no direction.
    """
    sums = sums[classes.first_equals]
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    bad = ~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0))
    if bad.any():
        label = classes.labels[int(bad.argmax())]
        raise ModelError(f"The model gives no finite vector for the class {label!r}: use --dtype fp32.")
    unit: Vectors = (sums / norms).astype(np.float32)
    return unit
