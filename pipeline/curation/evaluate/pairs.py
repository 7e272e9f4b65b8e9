"""Reads texts with their relevant images (as in MUGE, Flickr30K-CN and COCO-CN) and scores search results with them.

In: JSON lines {"text_id", "text", "image_ids"} (or `query_id`, `query_text`, `item_ids`), and the ids found for each
text or image. Out: recall as the published `evaluation.py` counts it, or the reason why that script would give none:

- every distinct text id of the file is a query; if several lines have the same id, the last one counts;
- if no text has `image_ids`, as in the published test splits, there is nothing to score;
- else a text without `image_ids`, or with images that are not among the candidates, is a miss;
- from image to text, every image that a text lists is a query, and all texts that list it are relevant;
- there is no score if a query has no vector, if there are fewer than ten candidates, or if an id occurs twice among
  the ten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.curation.evaluate.recall import NEAREST, RANKS, Recall
from pipeline.errors import SourceError
from pipeline.sources.chinese_clip.texts_file import TextLine, read_texts

#: Why there is no score, which is no fault, if the pairs are questions alone.
NOTHING_TO_SCORE = "nothing to score: no text of the pairs names an image"

#: The relevant candidates of each query.
RelevantIds = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class RetrievalPairs:
    """The lines of a file, in order. Ids compare as text, so 7 and "7" are equal, but "007" is different.

    Attributes:
        text_ids, texts: of each line.
        images_of: the relevant images of each text id.
        texts_of: the relevant texts of each image that a text lists.
    """

    text_ids: list[str]
    texts: list[str]
    images_of: RelevantIds
    texts_of: RelevantIds

    @classmethod
    def of(cls, lines: Iterable[TextLine]) -> RetrievalPairs:
        """Build both directions from `lines`."""
        text_ids, texts, images_of, texts_of = [], [], {}, dict[str, set[str]]()
        for line in lines:
            text_id, image_ids = line.text_id, frozenset(line.image_ids)
            text_ids.append(text_id)
            texts.append(line.text)
            images_of[text_id] = image_ids
            for image_id in image_ids:
                texts_of.setdefault(image_id, set()).add(text_id)
        return cls(text_ids, texts, images_of, {image: frozenset(of) for image, of in texts_of.items()})


def read_pairs(uri: str) -> RetrievalPairs:
    """Read the file at `uri`.

    Raises:
        SourceError: a line has another format (the message has its number), or there are no lines.
        StorageError: the file cannot be read.
    """
    lines = list(read_texts(uri))
    if not lines:
        raise SourceError(f"{uri} is empty: give a file with one JSON object per line.")
    return RetrievalPairs.of(lines)


class RecallScorer:
    """An `AnswerSink` that computes recall.

    If a query is answered several times, the last answer counts. Answers to queries without relevant candidates are
    checked, as the published script does, but not counted.
    """

    def __init__(self, relevant: RelevantIds, query: str, candidate: str) -> None:
        """`query` and `candidate` are "text" and "image" or the reverse, for messages."""
        self._relevant, self._query, self._candidate = relevant, query, candidate
        self._rank: dict[str, int] = {}
        self._failure: str | None = None if any(relevant.values()) else NOTHING_TO_SCORE

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Count the first ten candidates of a query, best first."""
        if self._failure is None:
            self._failure = self._problem(query_id, found)
        relevant = self._relevant.get(query_id)
        if relevant is not None:
            self._rank[query_id] = next((rank for rank, id_ in enumerate(found) if id_ in relevant), NEAREST)

    def _problem(self, query_id: str, found: Sequence[str]) -> str | None:
        if len(found) != NEAREST:
            return f"there are {len(found)} {self._candidate}s to choose from, and {NEAREST} are needed"
        if len(set(found)) != NEAREST:
            twice = next(id_ for id_ in found if found.count(id_) > 1)
            return f"the {self._candidate} id {twice} is among the first ten of {self._query} {query_id} twice"
        return None

    def result(self) -> Recall | str:
        """The recall, or the reason why there is none."""
        if self._failure is None and (unanswered := self._relevant.keys() - self._rank.keys()):
            examples = ", ".join(sorted(unanswered)[:5])
            self._failure = f"{len(unanswered):,} {self._query}s of the pairs have no vector, such as {examples}"
        if self._failure is not None:
            return self._failure
        r1, r5, r10 = (sum(rank < limit for rank in self._rank.values()) for limit in RANKS)
        return Recall(len(self._relevant), (r1, r5, r10))
