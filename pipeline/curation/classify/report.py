"""How good a classification is where the truth is known: classes told and true in, accuracy and a report by class out.

The measures are the usual ones. Accuracy is the share of images whose most probable class is the true one, top-5 the
share with the true one among the five most probable. Of a class: recall is the share of its images that were given its
label, precision the share of the images with its label that are its own, F1 their harmonic mean (0 where both are 0).
Mean per-class accuracy is the mean of the recalls of all classes that have images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.curation.classify.labels import Classes
from pipeline.curation.classify.truth import NO_CLASS, UNKNOWN, Numbers

TOP = 5


@dataclass(frozen=True, slots=True)
class ClassReport:
    """One class.

    Attributes:
        support: images that show it.
        predicted: images that were given its label, of those whose truth is known.
        precision: None where no image was given its label.
        recall: None where no image shows it.
        confused_with: the wrong label that its images get most often, and how often.
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
class Report:
    """All classes together.

    Attributes:
        rows: images whose truth is one of the classes.
        rows_without_truth: images of which nothing is known.
        rows_of_no_class: images whose truth is none of the classes.
        accuracy, top5, mean_per_class: shares, 0 to 1; top5 is None for five classes or fewer.
        confusion: (true class, told class, images), where there are any.
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
    """Counts block by block; memory grows with the confusions that occur, not with the rows."""

    def __init__(self) -> None:
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._among_top = self._unknown = self._no_class = 0

    def add(self, truth: Numbers, told: Numbers) -> None:
        """Count B images: their true classes, and (B, K) classes, the most probable first."""
        self._unknown += int((truth == UNKNOWN).sum())
        self._no_class += int((truth == NO_CLASS).sum())
        known = truth >= 0
        self._among_top += int((told[known, :TOP] == truth[known, None]).any(1).sum())
        pairs, counts = np.unique(np.stack([truth[known], told[known, 0]]), axis=1, return_counts=True)
        for (true, first), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            self._pairs[true, first] += count

    def report(self, classes: Classes) -> Report | None:
        """The measures; None when no image's truth is one of the classes."""
        rows = self._pairs.total()
        if not rows:
            return None
        each = tuple(self._classes(classes.labels))
        recalls = [entry.recall for entry in each if entry.recall is not None]
        return Report(
            rows=rows,
            rows_without_truth=self._unknown,
            rows_of_no_class=self._no_class,
            accuracy=sum(count for (true, told), count in self._pairs.items() if true == told) / rows,
            top5=self._among_top / rows if len(classes) > TOP else None,
            mean_per_class=sum(recalls) / len(recalls),
            classes=each,
            confusion=tuple(sorted((true, told, count) for (true, told), count in self._pairs.items())),
        )

    def _classes(self, labels: list[str]) -> Iterator[ClassReport]:
        support: Counter[int] = Counter()
        predicted: Counter[int] = Counter()
        worst: dict[int, tuple[int, int]] = {}
        for (true, told), count in sorted(self._pairs.items()):
            support[true] += count
            predicted[told] += count
            if true != told and count > worst.get(true, (0, 0))[0]:
                worst[true] = (count, told)
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
