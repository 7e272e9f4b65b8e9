"""Zero-shot classification of a finished dataset: class vectors in, a table of labels and probabilities out.

No image is touched: the stored image embeddings are multiplied with the class vectors, block by block, in memory that
does not grow with the dataset. Probabilities are softmax(scale * cosine) over all classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.curation.classify.elevater import Submission
from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.report import TOP, Tally
from pipeline.curation.classify.truth import Numbers, Truth
from pipeline.curation.tables import write_table
from pipeline.curation.vectors import KEY, Block, VectorRows, Vectors
from pipeline.phases import OnRows

#: The published evaluation multiplies cosines with this constant, which is what the released models learned.
LOGIT_SCALE = 100.0
_CELLS = 2**24  # rows x classes at once: 64 MB for each of the three matrices of a block
_ROWS = (256, 65536)


@dataclass(frozen=True, slots=True)
class Classifier:
    """What decides the table.

    Attributes:
        classes: C of them.
        weights: (C, D) float32 of norm 1.
        logit_scale: factor of the cosines under the softmax.
        top_k: so many classes a row, beside the best two.
    """

    classes: Classes
    weights: Vectors
    logit_scale: float = LOGIT_SCALE
    top_k: int = 0


@dataclass(frozen=True, slots=True)
class Prediction:
    """B images.

    Attributes:
        classes: (B, K) numbers of the K most probable classes, best first; of equal ones the lower number.
        probabilities: (B, C) of all classes.
        cosines: (B,) with the best class.
    """

    classes: Numbers
    probabilities: npt.NDArray[np.float32]
    cosines: npt.NDArray[np.float32]


@dataclass(slots=True)
class Watchers:
    """Who looks on while a table is written: the truth with its tally, the submission, and the display."""

    on_rows: OnRows
    truth: Truth | None = None
    tally: Tally | None = None
    submission: Submission | None = None


def write_classes(
    images: VectorRows, uri: str, classifier: Classifier, facts: Mapping[str, Any], watchers: Watchers
) -> Numbers:
    """Classify `images`, which have the columns that the truth is computed from, and write the table `uri`.

    Returns how many rows each of the C classes got.

    Raises:
        ConfigError: the truth cannot be told.
        StorageError, RunError: the dataset cannot be read, or the table not written.
    """
    counts = np.zeros(len(classifier.classes), np.int64)
    labels = pa.array(classifier.classes.labels)
    least, most = _ROWS
    rows = min(most, max(least, _CELLS // len(classifier.classes)))

    def tables() -> Iterator[pa.Table]:
        for block in images.blocks(rows):
            told = predict(block.vectors, classifier)
            counts[:] += np.bincount(told.classes[:, 0], minlength=len(counts))
            if watchers.submission:
                watchers.submission.add(block.ids, told.probabilities)
            yield _table(block, told, labels, classifier.top_k, _watch(block, told, watchers))
            watchers.on_rows(len(block.ids))

    write_table(uri, schema(classifier.top_k, watchers.truth is not None), tables(), facts)
    return counts


def predict(vectors: Vectors, classifier: Classifier) -> Prediction:
    """Classify (B, D) unit vectors. The order of classes is that of the cosines: probabilities may underflow to 0."""
    cosines = vectors @ classifier.weights.T
    classes = _best(cosines, min(len(classifier.classes), max(classifier.top_k, TOP)))
    best = np.take_along_axis(cosines, classes[:, :1], 1)
    probabilities = np.exp((cosines - best) * np.float32(classifier.logit_scale))
    probabilities /= probabilities.sum(1, keepdims=True)
    return Prediction(classes, probabilities, best[:, 0])


def _best(cosines: npt.NDArray[np.float32], count: int) -> Numbers:
    """Columns of each row's largest values, in order; a few passes are quicker than sorting a thousand classes."""
    left, rows = cosines.copy(), np.arange(len(cosines))
    found = np.empty((len(cosines), count), np.int64)
    for rank in range(count):
        found[:, rank] = left.argmax(1)
        left[rows, found[:, rank]] = -np.inf
    return found


def schema(top_k: int, with_truth: bool) -> pa.Schema:
    """Columns of the table."""
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


def _watch(block: Block, told: Prediction, watchers: Watchers) -> Numbers | None:
    """The block's true classes, counted, where they are to be known."""
    if watchers.truth is None or watchers.tally is None:
        return None
    truth = watchers.truth.of(block.rows)
    watchers.tally.add(truth, told.classes)
    return truth


def _table(block: Block, told: Prediction, labels: pa.Array, top_k: int, truth: Numbers | None) -> pa.Table:
    ordered = np.take_along_axis(told.probabilities, told.classes, 1)
    columns = {
        **{name: block.rows[name] for name in KEY},
        "label": labels.take(pa.array(told.classes[:, 0])),
        "label_index": told.classes[:, 0],
        "probability": ordered[:, 0],
        "cosine": told.cosines,
        "runner_up": labels.take(pa.array(told.classes[:, 1])),
        "runner_up_index": told.classes[:, 1],
        "runner_up_probability": ordered[:, 1],
        "margin": ordered[:, 0] - ordered[:, 1],
    }
    if top_k:
        classes = told.classes[:, :top_k]
        columns["top_labels"] = _lists(labels.take(pa.array(classes.ravel())), classes.shape)
        columns["top_indexes"] = _lists(pa.array(classes.ravel(), pa.int32()), classes.shape)
        columns["top_probabilities"] = _lists(pa.array(ordered[:, :top_k].ravel()), classes.shape)
    if truth is not None:
        columns["truth_index"] = pa.array(truth, mask=truth < 0)
    return pa.table(columns)


def _lists(values: pa.Array, shape: tuple[int, ...]) -> pa.ListArray:
    """`shape[0]` lists of `shape[1]` values each."""
    return pa.ListArray.from_arrays(np.arange(shape[0] + 1, dtype=np.int32) * shape[1], values)
