"""Classifies the images of a dataset and writes a table of labels and probabilities.

In: stored image vectors and class vectors. Out: a Parquet table. No image is read: the stored vectors are multiplied
with the class vectors, block by block, in bounded memory. Probabilities are softmax(scale * cosine) over all classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.classify.elevater import Submission
from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.report import TOP, Tally
from pipeline.curation.classify.truth import ClassNumbers, GroundTruth
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY, Block, VectorRows, Vectors
from pipeline.phases import OnRows

#: The published evaluation multiplies cosines with this constant, which is what the released models learned.
LOGIT_SCALE = 100.0
_CELLS = 2**24  # rows x classes per block: 64 MB for each of its three matrices
_ROWS = (256, 65536)


@dataclass(frozen=True)
class Classifier:
    """A zero-shot classifier.

    Attributes:
        classes: C classes.
        weights: (C, D) float32 of norm 1.
        logit_scale: factor of the cosines in the softmax.
        top_k: number of classes in the list columns; 0 for no such columns.
    """

    classes: Classes
    weights: Vectors
    logit_scale: float = LOGIT_SCALE
    top_k: int = 0

    @cached_property
    def copies(self) -> tuple[ClassNumbers, ClassNumbers]:
        """Classes that are equal to an earlier one: (N,) the first of these, and (N,) the class itself."""
        first = np.array(self.classes.first_equals, np.int64)
        copies = np.flatnonzero(first != np.arange(len(first)))
        return first[copies], copies


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predictions for B images.

    Attributes:
        classes: (B, K) the K most probable classes, best first; ties by number.
        probabilities: (B, C) of all classes.
        cosines: (B,) with the best class.
    """

    classes: ClassNumbers
    probabilities: npt.NDArray[np.float32]
    cosines: npt.NDArray[np.float32]


@dataclass(slots=True)
class Observers:
    """What else receives the predictions while a table is written: the measures, the submission, the progress bar."""

    on_rows: OnRows
    truth: GroundTruth | None = None
    tally: Tally | None = None
    submission: Submission | None = None


def write_classes(
    images: VectorRows, uri: str, classifier: Classifier, footer: Mapping[str, Any], observers: Observers
) -> ClassNumbers:
    """Classify `images` and write the table `uri`.

    Args:
        images: the rows, with the columns that the ground truth needs.
        uri: the table.
        classifier: the classifier.
        footer: what made the table, see `write_table`.
        observers: receive each block.

    Returns:
        (C,) how many images were assigned to each class.

    Raises:
        ConfigError: the ground truth cannot be computed.
        StorageError, RunError: the dataset cannot be read, or the table cannot be written.
    """
    counts = np.zeros(len(classifier.classes), np.int64)
    labels = pa.array(classifier.classes.labels)
    least, most = _ROWS
    rows = min(most, max(least, _CELLS // len(classifier.classes)))

    def tables() -> Iterator[pa.Table]:
        for block in images.blocks(rows):
            predicted = predict(block.vectors, classifier)
            counts[:] += np.bincount(predicted.classes[:, 0], minlength=len(counts))
            if observers.submission:
                observers.submission.add(block.ids, predicted.probabilities)
            yield _table(block, predicted, labels, classifier.top_k, _tallied(block, predicted, observers))
            observers.on_rows(len(block.ids))

    write_table(uri, schema(classifier.top_k, observers.truth is not None), tables(), footer)
    return counts


def predict(vectors: Vectors, classifier: Classifier) -> Prediction:
    """Classify (B, D) unit vectors. Classes are ordered by cosine, since probabilities may underflow to 0."""
    cosines = vectors @ classifier.weights.T
    # Equal columns of a product may differ in the last bit, and then chance would decide between equal classes.
    first, copies = classifier.copies
    cosines[:, copies] = cosines[:, first]
    classes = _best(cosines, min(len(classifier.classes), max(classifier.top_k, TOP)))
    best = np.take_along_axis(cosines, classes[:, :1], 1)
    probabilities = np.exp((cosines - best) * np.float32(classifier.logit_scale))
    probabilities /= probabilities.sum(1, keepdims=True)
    return Prediction(classes, probabilities, best[:, 0])


def _best(cosines: npt.NDArray[np.float32], count: int) -> ClassNumbers:
    """Columns of each row's largest values, in order; a few passes are faster than sorting a thousand classes."""
    left, rows = cosines.copy(), np.arange(len(cosines))
    found = np.empty((len(cosines), count), np.int64)
    for rank in range(count):
        found[:, rank] = left.argmax(1)
        left[rows, found[:, rank]] = -np.inf
    return found


def schema(top_k: int, with_truth: bool) -> pa.Schema:
    """The columns of the table."""
    whole, real = pa.int32(), pa.float32()
    fields = [pa.field(name, pa.string(), nullable=False) for name in KEY]
    fields += [pa.field("label", pa.string(), nullable=False), pa.field("label_index", whole, nullable=False)]
    fields += [pa.field(name, real, nullable=False) for name in ("probability", "cosine")]
    fields += [pa.field("runner_up", pa.string(), nullable=False), pa.field("runner_up_index", whole, nullable=False)]
    fields += [pa.field(name, real, nullable=False) for name in ("runner_up_probability", "margin")]
    if top_k:
        fields += [pa.field("top_labels", pa.list_(pa.string()), nullable=False)]
        fields += [pa.field("top_indexes", pa.list_(whole), nullable=False)]
        fields += [pa.field("top_probabilities", pa.list_(real), nullable=False)]
    return pa.schema([*fields, *([pa.field("truth_index", whole)] if with_truth else [])])


def _tallied(block: Block, predicted: Prediction, observers: Observers) -> ClassNumbers | None:
    """Count the block's predictions; returns its true classes, or None without a ground truth."""
    if observers.truth is None or observers.tally is None:
        return None
    truth = observers.truth.of(block.rows)
    observers.tally.add(truth, predicted.classes)
    return truth


def _table(block: Block, predicted: Prediction, labels: pa.Array, top_k: int, truth: ClassNumbers | None) -> pa.Table:
    ordered = np.take_along_axis(predicted.probabilities, predicted.classes, 1)
    columns = {
        **{name: block.rows[name] for name in KEY},
        "label": labels.take(pa.array(predicted.classes[:, 0])),
        "label_index": predicted.classes[:, 0],
        "probability": ordered[:, 0],
        "cosine": predicted.cosines,
        "runner_up": labels.take(pa.array(predicted.classes[:, 1])),
        "runner_up_index": predicted.classes[:, 1],
        "runner_up_probability": ordered[:, 1],
        "margin": ordered[:, 0] - ordered[:, 1],
    }
    if top_k:
        classes = predicted.classes[:, :top_k]
        columns["top_labels"] = _lists(labels.take(pa.array(classes.ravel())), classes.shape)
        columns["top_indexes"] = _lists(pa.array(classes.ravel(), pa.int32()), classes.shape)
        columns["top_probabilities"] = _lists(pa.array(ordered[:, :top_k].ravel()), classes.shape)
    if truth is not None:
        columns["truth_index"] = pa.array(truth, mask=truth < 0)
    return pa.table(columns)


def _lists(values: pa.Array, shape: tuple[int, ...]) -> pa.ListArray:
    """`shape[0]` lists of `shape[1]` values each."""
    return pa.ListArray.from_arrays(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], values)
