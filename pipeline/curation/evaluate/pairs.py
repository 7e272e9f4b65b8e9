"""Texts and the images that are right for them, as MUGE, Flickr30K-CN and COCO-CN give them, and the score they make.

In: JSON lines {"text_id", "text", "image_ids"} (or `query_id`, `query_text`, `item_ids`), and what was found for each
text or image. Out: recall as the published `evaluation.py` counts it, or the reason for which it would count nothing:

- every distinct text id of the file is a query; of several lines with one id the last is the one that holds;
- a text without `image_ids`, or whose images are not among the candidates, is a miss;
- backwards, every image that some text names is a query, and all texts that name it are right;
- a query without a vector, fewer than ten candidates, or one id twice among the ten: no score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.curation.evaluate.recall import NEAREST, RANKS, Recall
from pipeline.errors import SourceError
from pipeline.sources.chinese_clip.texts_file import TextLine, read_texts

Truth = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The lines of a file, in order; ids compare as text, so that 7 and "7" are one, and "007" is another.

    Attributes:
        text_ids, texts: of each line.
        images_of: the right images of each text id.
        texts_of: the right texts of each image that occurs.
    """

    text_ids: list[str]
    texts: list[str]
    images_of: Truth
    texts_of: Truth

    @classmethod
    def of(cls, lines: Iterable[TextLine]) -> Pairs:
        """Both directions of `lines`."""
        text_ids, texts, images_of, texts_of = [], [], {}, dict[str, set[str]]()
        for line in lines:
            text_id, image_ids = line.text_id, frozenset(line.image_ids)
            text_ids.append(text_id)
            texts.append(line.text)
            images_of[text_id] = image_ids
            for image_id in image_ids:
                texts_of.setdefault(image_id, set()).add(text_id)
        return cls(text_ids, texts, images_of, {image: frozenset(of) for image, of in texts_of.items()})


def read_pairs(uri: str) -> Pairs:
    """The file at `uri`.

    Raises:
        SourceError: a line is not of this format; the message has its number. Or there are none.
        StorageError: the file cannot be read.
    """
    lines = list(read_texts(uri))
    if not lines:
        raise SourceError(f"{uri} is empty: give a file with a JSON object a line.")
    return Pairs.of(lines)


class Score:
    """Counts what was found for the queries of a truth, one query at a time.

    Of several answers to one query the last holds. Answers to queries that the truth does not have are checked, as
    the published script checks them, and not counted.
    """

    def __init__(self, truth: Truth, query: str, candidate: str) -> None:
        self._truth, self._query, self._candidate = truth, query, candidate
        self._rank: dict[str, int] = {}
        self._failure: str | None = None if truth else f"no {candidate} of any {query} is named in the pairs"

    def add(self, query_id: str, found: Sequence[str]) -> None:
        """Take the first ten candidates of a query, best first."""
        if self._failure is None:
            self._failure = self._wrong(query_id, found)
        right = self._truth.get(query_id)
        if right is not None:
            self._rank[query_id] = next((rank for rank, id_ in enumerate(found) if id_ in right), NEAREST)

    def _wrong(self, query_id: str, found: Sequence[str]) -> str | None:
        if len(found) != NEAREST:
            return f"there are {len(found)} {self._candidate}s to choose from, and {NEAREST} are needed"
        if len(set(found)) != NEAREST:
            twice = next(id_ for id_ in found if found.count(id_) > 1)
            return f"the {self._candidate} id {twice} is among the first ten of {self._query} {query_id} twice"
        return None

    def result(self) -> Recall | str:
        """The recall, or why there is none."""
        if self._failure is None and (silent := self._truth.keys() - self._rank.keys()):
            some = ", ".join(sorted(silent)[:5])
            self._failure = f"{len(silent):,} {self._query}s of the pairs have no vector, such as {some}"
        if self._failure is not None:
            return self._failure
        r1, r5, r10 = (sum(rank < among for rank in self._rank.values()) for among in RANKS)
        return Recall(len(self._truth), (r1, r5, r10))
