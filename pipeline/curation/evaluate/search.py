"""Searches in both directions between texts held in memory and a stream of images, and scores the results.

In: texts with ids, blocks of images with ids, the relevant pairs. Out: the first ten of each query to its sinks, and a
score for each direction. One pass over the images serves both directions. An image that no text lists is a query only
if its answer is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from pipeline.curation.evaluate.files import AnswerSink
from pipeline.curation.evaluate.pairs import RecallScorer, RetrievalPairs
from pipeline.curation.evaluate.recall import Recall, TopK
from pipeline.curation.vectors import Vectors
from pipeline.errors import UsageError


class Direction(StrEnum):
    """What the queries and what the candidates are."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"


@dataclass(frozen=True, slots=True)
class NamedVectors:
    """Vectors with ids.

    Attributes:
        ids: B ids as text.
        vectors: (B, D) float32.
    """

    ids: Sequence[str]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class DirectionResult:
    """The result of one direction.

    Attributes:
        queries, candidates: how many there were.
        result: the recall, or the reason why there is none.
    """

    direction: Direction
    queries: int
    candidates: int
    result: Recall | str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of all requested directions.

    Attributes:
        outcomes: one per direction.
        images_missing: images that the pairs list but that are not among the candidates.
    """

    outcomes: tuple[DirectionResult, ...]
    images_missing: int = 0


def evaluate(
    texts: NamedVectors,
    images: Iterable[NamedVectors],
    pairs: RetrievalPairs,
    sinks: Mapping[Direction, Sequence[AnswerSink]],
) -> Evaluation:
    """Score the directions that are keys of `sinks`.

    Args:
        texts: the vectors of all texts; ties keep their order.
        images: the vectors of all images, in blocks.
        pairs: which texts and images belong together.
        sinks: further receivers of the answers, possibly none.

    Raises:
        UsageError: none of the images of the pairs is there, or images and texts have different dimensions.
    """
    search = _Search(texts, pairs, sinks)
    for block in images:
        search.add(block)
    return search.finish()


class _Search:
    """One pass over the images."""

    def __init__(
        self, texts: NamedVectors, pairs: RetrievalPairs, sinks: Mapping[Direction, Sequence[AnswerSink]]
    ) -> None:
        self._texts, self._pairs = texts, pairs
        self._scorers = {
            Direction.TEXT_TO_IMAGE: RecallScorer(pairs.images_of, "text", "image"),
            Direction.IMAGE_TO_TEXT: RecallScorer(pairs.texts_of, "image", "text"),
        }
        sinks = {direction: (self._scorers[direction], *others) for direction, others in sinks.items()}
        self._text_sinks, self._image_sinks = (sinks.get(direction, ()) for direction in Direction)
        # Predictions hold every image, and a repeated text id among the ten of any image means that there is no score.
        self._all_images = len(self._image_sinks) > 1 or len(set(texts.ids)) < len(texts.ids)
        self._top = TopK(texts.vectors)
        self._ids: list[pa.Array] = []
        self._missing = set(pairs.texts_of)

    def add(self, block: NamedVectors) -> None:
        """Search a block of images."""
        _check_dim(block.vectors, self._texts.vectors)
        self._ids.append(pa.array(block.ids, pa.string()))
        self._missing.difference_update(block.ids)
        if self._text_sinks:
            self._top.add(block.vectors)
        if self._image_sinks:
            _send(self._image_sinks, _texts_of(block, self._texts, None if self._all_images else self._pairs))

    def finish(self) -> Evaluation:
        """Send the answers to the texts, and score both directions."""
        gallery = pa.chunked_array(self._ids, pa.string())
        _check_found(self._missing, self._pairs, gallery)
        if self._text_sinks:
            _send(self._text_sinks, _answers(self._texts.ids, self._top, gallery))
        counts = {
            Direction.TEXT_TO_IMAGE: (self._text_sinks, len(self._pairs.images_of), len(gallery)),
            Direction.IMAGE_TO_TEXT: (self._image_sinks, len(self._pairs.texts_of), len(self._texts.ids)),
        }
        results = (
            DirectionResult(direction, queries, candidates, self._scorers[direction].result())
            for direction, (sinks, queries, candidates) in counts.items()
            if sinks
        )
        return Evaluation(tuple(results), len(self._missing))


def _check_dim(images: Vectors, texts: Vectors) -> None:
    if images.shape[1] != texts.shape[1]:
        raise UsageError(
            f"The images have vectors of {images.shape[1]} numbers, the texts of {texts.shape[1]}: they come from "
            "different models. Use one model for both."
        )


def _check_found(missing: set[str], pairs: RetrievalPairs, gallery: pa.ChunkedArray) -> None:
    if missing and len(missing) == len(pairs.texts_of):
        found = f"the candidates are ids like {gallery[0].as_py()}" if len(gallery) else "there are no candidates"
        raise UsageError(
            f"None of the {len(missing):,} images that the pairs name is there: they name images like {min(missing)}, "
            f"{found}. Give the pairs that belong to these images."
        )


def _texts_of(
    block: NamedVectors, texts: NamedVectors, pairs: RetrievalPairs | None
) -> Iterator[tuple[str, list[str]]]:
    """The texts found for a block's images; with `pairs`, only for images that they list."""
    chosen = [i for i, id_ in enumerate(block.ids) if pairs is None or id_ in pairs.texts_of]
    top = TopK(block.vectors[np.array(chosen, np.int64)])
    top.add(texts.vectors)
    return _answers([block.ids[i] for i in chosen], top, pa.chunked_array([texts.ids], pa.string()))


def _answers(queries: Sequence[str], top: TopK, gallery: pa.ChunkedArray) -> Iterator[tuple[str, list[str]]]:
    """Each query's id and the ids of its candidates, best first."""
    for query_id, positions in zip(queries, top.positions, strict=True):
        yield query_id, gallery.take(pa.array(positions[positions >= 0])).to_pylist()


def _send(sinks: Sequence[AnswerSink], answers: Iterable[tuple[str, list[str]]]) -> None:
    for query_id, found in answers:
        for sink in sinks:
            sink.add(query_id, found)
