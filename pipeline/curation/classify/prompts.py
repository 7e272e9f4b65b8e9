"""The classifier that names make: a vector for each class, as the published evaluation builds it.

Every template is filled with a class's name, encoded, and brought to norm 1; the mean of a class's vectors, brought to
norm 1 again, stands for the class. Lower case, quotes and the 52 tokens are the tokenizer's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

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
    return sum(map(len, classes.synonyms)) * len(templates)


def class_vectors(encoder: ChineseClip, classes: Classes, templates: Sequence[str], on_rows: OnRows) -> Vectors:
    """(C, D) float32 of norm 1, a row for each class.

    Args:
        encoder: the dataset's model.
        classes: every name of a class counts the same.
        templates: every template counts as often as it stands.
        on_rows: called with the number of texts encoded since the last call.

    Raises:
        ModelError: the model gives no finite vector for a class.
    """
    sums = np.zeros((len(classes), encoder.dim), np.float64)
    texts = (
        (number, text)
        for number, names in enumerate(classes.synonyms)
        for name in names
        for text in prompts(name, templates)
    )
    while some := list(islice(texts, _PROMPTS_AT_ONCE)):
        vectors = encoder.encode_texts([text for _, text in some])
        np.add.at(sums, [number for number, _ in some], vectors)
        on_rows(len(some))
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    bad = ~(np.isfinite(norms[:, 0]) & (norms[:, 0] > 0))
    if bad.any():
        label = classes.labels[int(bad.argmax())]
        raise ModelError(f"The model gives no finite vector for the class {label!r}: use --dtype fp32.")
    unit: Vectors = (sums / norms).astype(np.float32)
    return unit
