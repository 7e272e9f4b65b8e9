"""Measures a classification against the ground truth: accuracy, and a report for each class.

In: predicted and true classes. Out: the usual measures. Accuracy is the share of images whose most probable class is
the true one; top-5, the share with the true class among the five most probable. For a class, recall is the share of its
images with the right prediction, precision the share of predictions of the class that are right, and F1 their harmonic
mean (0 if both are 0). Mean per-class accuracy is the mean recall of all classes that have images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.truth import NO_CLASS, UNKNOWN, ClassNumbers

TOP = 5


@dataclass(frozen=True, slots=True)
class ClassReport:
    """The measures of one class.

    Attributes:
        support: images of the class.
        predicted: images with this prediction and a known truth.
        precision: None if the class was never predicted.
        recall: None if the class has no images.
        confused_with: the most frequent wrong prediction for its images; confused_count: how frequent.
    """

    label: str
    label_index: int
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None
    confused_with: str | None
    confused_with_index: int | None
    confused_count: int


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """The measures of all classes.

    Attributes:
        rows: images whose truth is one of the classes.
        rows_without_truth: images without a truth.
        rows_of_no_class: images whose truth is none of the classes.
        accuracy, top5, mean_per_class: shares, 0 to 1; top5 is None for five classes or fewer.
        confusion: (true class, predicted class, images), for all combinations that occur.
    """

    rows: int
    rows_without_truth: int
    rows_of_no_class: int
    accuracy: float
    top5: float | None
    mean_per_class: float
    classes: tuple[ClassReport, ...]
    confusion: tuple[tuple[int, int, int], ...]


class Tally:
    """Counts predictions block by block; memory grows with the distinct confusions, not with the rows."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._among_top = self._unknown = self._no_class = 0

    def add(self, truth: ClassNumbers, predicted: ClassNumbers) -> None:
        """Count B images: (B,) true classes, and (B, K) predicted classes, the most probable first."""
        self._unknown += int((truth == UNKNOWN).sum())
        self._no_class += int((truth == NO_CLASS).sum())
        known = truth >= 0
        self._among_top += int((predicted[known, :TOP] == truth[known, None]).any(1).sum())
        pairs, counts = np.unique(np.stack([truth[known], predicted[known, 0]]), axis=1, return_counts=True)
        for (true, first), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self._pairs[true, first] += count

    def report(self, classes: Classes) -> ClassificationReport | None:
        """The measures; None if no image's truth is one of the classes."""
        rows = self._pairs.total()
        if not rows:
            return None
        each = tuple(self._classes(classes.labels))
        recalls = [entry.recall for entry in each if entry.recall is not None]
        return ClassificationReport(
            rows=rows,
            rows_without_truth=self._unknown,
            rows_of_no_class=self._no_class,
            accuracy=sum(count for (true, first), count in self._pairs.items() if true == first) / rows,
            top5=self._among_top / rows if len(classes) > TOP else None,
            mean_per_class=sum(recalls) / len(recalls),
            classes=each,
            confusion=tuple(sorted((true, first, count) for (true, first), count in self._pairs.items())),
        )

    def _classes(self, labels: list[str]) -> Iterator[ClassReport]:
        support: Counter[int] = Counter()
        predicted: Counter[int] = Counter()
        worst: dict[int, tuple[int, int]] = {}
        for (true, first), count in sorted(self._pairs.items()):
            support[true] += count
            predicted[first] += count
            if true != first and count > worst.get(true, (0, 0))[0]:
                worst[true] = (count, first)
        for number, label in enumerate(labels):
            right = self._pairs[number, number]
            recall = right / support[number] if support[number] else None
            precision = right / predicted[number] if predicted[number] else None
            count, other = worst.get(number, (0, None))
            yield ClassReport(
                label=label,
                label_index=number,
                support=support[number],
                predicted=predicted[number],
                precision=precision,
                recall=recall,
                f1=None if recall is None else 2 * right / (support[number] + predicted[number]),
                confused_with=None if other is None else labels[other],
                confused_with_index=other,
                confused_count=count,
            )
