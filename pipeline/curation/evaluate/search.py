"""The two directions of retrieval between texts that are held and images that stream past.

In: texts with ids, blocks of images with ids, the pairs. Out: each query's first ten, to whoever takes answers, and a
score for each direction. One pass over the images serves both; an image that no text names is asked for only where its
answer is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from pipeline.curation.evaluate.files import Answers
from pipeline.curation.evaluate.pairs import Pairs, Score
from pipeline.curation.evaluate.recall import Nearest, Recall
from pipeline.curation.vectors import Vectors
from pipeline.errors import UsageError


class Direction(StrEnum):
    """Whom the queries are, and whom the candidates."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"


@dataclass(frozen=True, slots=True)
class Named:
    """Vectors with names.

    Attributes:
        ids: B ids as text.
        vectors: (B, D) float32.
    """

    ids: Sequence[str]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a direction.

    Attributes:
        queries, candidates: how many were asked, among how many.
        result: the recall, or why there is none.
    """

    direction: Direction
    queries: int
    candidates: int
    result: Recall | str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of all directions that were asked for.

    Attributes:
        outcomes: of each.
        images_missing: images that the pairs name and that are not among the candidates.
    """

    outcomes: tuple[Outcome, ...]
    images_missing: int = 0


def evaluate(
    texts: Named,
    images: Iterable[Named],
    pairs: Pairs,
    answers: Mapping[Direction, Sequence[Answers]],
) -> Evaluation:
    """Score the directions that are keys of `answers`.

    Args:
        texts: every text's vector; the order breaks ties.
        images: likewise, in blocks.
        pairs: which belong together.
        answers: who else takes the answers; may be nobody.

    Raises:
        UsageError: none of the images that the pairs name is there, or images and texts are of different lengths.
    """
    scores = {
        Direction.TEXT_TO_IMAGE: Score(pairs.images_of, "text", "image"),
        Direction.IMAGE_TO_TEXT: Score(pairs.texts_of, "image", "text"),
    }
    takers = {direction: (scores[direction], *others) for direction, others in answers.items()}
    nearest, ids, missing = Nearest(texts.vectors), [], set(pairs.texts_of)
    text_takers, image_takers = (takers.get(direction, ()) for direction in Direction)
    everyone = len(image_takers) > 1 or len(set(texts.ids)) < len(texts.ids)
    for block in images:
        _check_dim(block.vectors, texts.vectors)
        ids.append(pa.array(block.ids, pa.string()))
        missing.difference_update(block.ids)
        if text_takers:
            nearest.add(block.vectors)
        if image_takers:
            _tell(image_takers, _backwards(block, texts, None if everyone else pairs))
    gallery = pa.chunked_array(ids, pa.string())
    _check_found(missing, pairs, gallery)
    if text_takers:
        _tell(text_takers, _answers(texts.ids, nearest, gallery))
    sizes = {Direction.TEXT_TO_IMAGE: len(gallery), Direction.IMAGE_TO_TEXT: len(texts.ids)}
    truths = {Direction.TEXT_TO_IMAGE: pairs.images_of, Direction.IMAGE_TO_TEXT: pairs.texts_of}
    outcomes = (Outcome(d, len(truths[d]), sizes[d], scores[d].result()) for d in Direction if d in takers)
    return Evaluation(tuple(outcomes), len(missing))


def _check_dim(images: Vectors, texts: Vectors) -> None:
    if images.shape[1] != texts.shape[1]:
        raise UsageError(
            f"The images have vectors of {images.shape[1]} numbers, the texts of {texts.shape[1]}: they come from two "
            "models. Take both from one."
        )


def _check_found(missing: set[str], pairs: Pairs, gallery: pa.ChunkedArray) -> None:
    if missing and len(missing) == len(pairs.texts_of):
        there = f"the candidates are ids like {gallery[0].as_py()}" if len(gallery) else "there are no candidates"
        raise UsageError(
            f"None of the {len(missing):,} images that the pairs name is there: they name images like {min(missing)}, "
            f"{there}. Give the pairs that belong to these images."
        )


def _backwards(block: Named, texts: Named, pairs: Pairs | None) -> Iterator[tuple[str, list[str]]]:
    """The texts of a block's images; with `pairs` of those alone that occur there."""
    wanted = range(len(block.ids)) if pairs is None else [i for i, id_ in enumerate(block.ids) if id_ in pairs.texts_of]
    nearest = Nearest(block.vectors[np.array(wanted, np.int64)])
    nearest.add(texts.vectors)
    return _answers([block.ids[i] for i in wanted], nearest, pa.chunked_array([texts.ids], pa.string()))


def _answers(queries: Sequence[str], nearest: Nearest, gallery: pa.ChunkedArray) -> Iterator[tuple[str, list[str]]]:
    """Each query's id and the ids of what it found, best first."""
    for query_id, positions in zip(queries, nearest.positions, strict=True):
        yield query_id, gallery.take(pa.array(positions[positions >= 0])).to_pylist()


def _tell(takers: Sequence[Answers], answers: Iterable[tuple[str, list[str]]]) -> None:
    for query_id, found in answers:
        for taker in takers:
            taker.add(query_id, found)
