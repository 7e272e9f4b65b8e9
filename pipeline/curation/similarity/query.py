"""Ranks texts for an image, or images for a text, by stored vectors and those of a few encoded texts.

In: an id whose stored vector is the query, or a text that the dataset's model encodes. Out: the best matches with their
cosine, logit, percentile among the dataset's own pairs, and chance; for given texts also their probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.similarity.chance import Chance, sample_chance
from pipeline.curation.similarity.probabilities import softmax
from pipeline.curation.similarity.table import Survey, logit_scale, survey
from pipeline.curation.vectors import KEY, TEXT, Vectors, matrix, require_vectors, vector_blocks
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.shard_file import gone
from pipeline.errors import NotFoundError, UsageError


@dataclass(frozen=True, slots=True)
class Match:
    """One of the best matches.

    Attributes:
        id: of the record; None for a text that was given.
        text: the text, or the record's own caption.
        percentile: of the cosine among the dataset's own pairs, 0 to 100; None if it has no pairs.
        chance: how often mismatched pairs of the dataset reach the cosine; None if there are none.
        probability: softmax over all texts that were given; None if there are fewer than two.
    """

    id: str | None
    text: str | None
    cosine: float
    logit: float
    percentile: float | None
    chance: float | None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """Converts cosines with the dataset's own distribution and its model's logit scale."""

    survey: Survey
    chance: Chance | None
    logit_scale: float

    def match(self, id_: str | None, text: str | None, cosine: float, probability: float | None = None) -> Match:
        """Build a match with all its figures."""
        value = np.array([cosine], np.float32)
        percentile = float(self.survey.percentiles(value)[0]) if len(self.survey.cosines) else None
        chance = None if self.chance is None else float(self.chance.of(value)[0])
        return Match(id_, text, cosine, cosine * self.logit_scale, percentile, chance, probability)


def measure(dataset: Dataset, ids: Sequence[str]) -> Scale:
    """The scale of a dataset, with the states of these ids. Raises UsageError if an id is unknown."""
    found = survey(dataset.uri, ids)
    for id_ in ids:
        if id_ not in found.states:
            raise UsageError(f"{id_} has no current row in {dataset.uri}: check the id, and see `hanclip status`.")
    return Scale(found, sample_chance(dataset), logit_scale(dataset))


def stored(dataset: Dataset, id_: str, fingerprint: str, vector: str) -> tuple[Vectors, str | None]:
    """The (D,) vector of a record's state, and its text. Raises UsageError if it has no such vector."""
    require_vectors(dataset, vector)
    has_texts = dataset.identity.has_texts
    state = (pads.field("id") == id_) & (pads.field("source_fingerprint") == fingerprint)
    try:
        with storage.translated(dataset.uri):
            rows = dataset.embeddings([*KEY, vector, *(["text"] if has_texts else [])]).to_table(filter=state)
    except NotFoundError as error:
        raise gone(f"A file of {dataset.uri}") from error
    rows = rows.filter(rows[vector].is_valid())
    if not rows.num_rows:
        cure = "name a record that has one" + (", or give the text with --text." if vector == TEXT else ".")
        raise UsageError(f"{id_} has no {'text' if vector == TEXT else 'image'}: {cure}")
    return matrix(rows[vector])[0], rows["text"][0].as_py() if has_texts else None


def rank_texts(scale: Scale, image: Vectors, texts: Sequence[tuple[str | None, str]], vectors: Vectors) -> list[Match]:
    """Rank (id or None, text) pairs, best first; ties keep their order. `image` is (D,), `vectors` is (T, D)."""
    cosines = (vectors @ image).astype(np.float64)
    shares = softmax(cosines * scale.logit_scale)
    ranked = [(*texts[i], float(cosines[i]), float(shares[i])) for i in np.argsort(-cosines, kind="stable")]
    return [scale.match(id_, text, cosine, share if len(texts) > 1 else None) for id_, text, cosine, share in ranked]


def rank_stored(dataset: Dataset, scale: Scale, query: Vectors, vector: str, top: int) -> list[Match]:
    """The `top` latest rows whose `vector` is nearest to the (D,) query; ties by id."""
    has_texts = dataset.identity.has_texts
    best: list[tuple[float, str, str | None]] = []
    for block in vector_blocks(dataset.uri, vector, ["text"] if has_texts else []):
        cosines = block.vectors @ query
        count = min(top, len(cosines))
        positions = np.flatnonzero(cosines >= np.partition(cosines, -count)[-count])
        nearest = block.rows.take(positions)
        texts = nearest["text"].to_pylist() if has_texts else [None] * len(positions)
        best += zip((-cosines[positions]).tolist(), nearest["id"].to_pylist(), texts, strict=True)
        best = sorted(best, key=lambda match: match[:2])[:top]
    return [scale.match(id_, text, -negative) for negative, id_, text in best]
