"""Tokenizes texts the way Chinese CLIP's published results were produced.

BERT WordPiece, lower-cased, truncated to 52 tokens with [CLS] and [SEP], unless a model has other rules or another
context length. As in the reference's evaluation (and unlike its plain `tokenize`), texts are first lower-cased by
Python, and the quotes “ ”, which are not in the vocabulary, become `"`. Special tokens that occur in a text, such as
`[MASK]`, are ordinary characters.

52 tokens are about 50 Chinese characters, and product titles are often longer. A text that is too long may also be
split into windows, whose vectors are averaged. Either way only the beginning of a long text is tokenized, see
`pipeline.model.cutting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tokenizers
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from pipeline.model.cutting import beginning, condensed, folded
from pipeline.model.local.wordpiece import REQUIRED, Rules, read_vocabulary

#: The beginning that is tokenized first, and how much more of a text that turns out to have fewer tokens.
_CHARACTERS_PER_TOKEN, _GROWTH = 4, 4
#: The rest is dropped: a text of 800 tokens is a page, not a caption.
MAX_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class TextRows:
    """The text tower's input for T texts.

    Attributes:
        ids: (T, L) int64 token ids with [CLS] and [SEP], padded.
        lengths: (T,) int64 number of tokens of each, at most L.
    """

    ids: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, part: slice) -> TextRows:
        """Some of them, without padding that none of them needs."""
        lengths = self.lengths[part]
        return TextRows(self.ids[part, : lengths.max(initial=0)], lengths)

    @property
    def padded(self) -> bool:
        """Whether a text is shorter than another."""
        return bool((self.lengths < self.ids.shape[1]).any())

    @property
    def mask(self) -> npt.NDArray[np.int64]:
        """(T, L) with 0 for padding, else 1."""
        return (np.arange(self.ids.shape[1]) < self.lengths[:, None]).astype(np.int64)


class Tokenizer:
    """WordPiece over a model's vocabulary.

    Attributes:
        room: tokens of a text that the model takes, without [CLS] and [SEP].
        unknown: id of [UNK].
    """

    def __init__(self, vocabulary: dict[str, int], rules: Rules, context_length: int) -> None:
        self._rules = rules
        self.room = context_length - 2
        self._pad, self.unknown, self._cls, self._sep = (vocabulary[token] for token in REQUIRED)
        # What transformers' `BertTokenizer` consists of, whose import takes seconds.
        self._bert = tokenizers.Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
        self._bert.normalizer = BertNormalizer(
            clean_text=True,
            handle_chinese_chars=rules.chinese_chars,
            strip_accents=rules.strip_accents,
            lowercase=rules.lower_case,
        )
        self._bert.pre_tokenizer = BertPreTokenizer()

    @classmethod
    def load(cls, vocabulary: Path, rules: Rules, context_length: int) -> Tokenizer:
        """Load the tokenizer of a vocabulary file. Raises ModelError if it is none."""
        return cls(read_vocabulary(vocabulary), rules, context_length)

    def words(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """The first `most` token ids of each text, without [CLS] and [SEP]; all of them where it has fewer."""
        # A text may be cut between Chinese characters only where each of them is a word.
        characters = most * _CHARACTERS_PER_TOKEN if self._rules.chinese_chars else 4 * max(map(len, texts))
        wholes = [_shortened(text, characters, self._rules.lower_case) for text in texts]
        ids: list[list[int]] = [[] for _ in texts]
        unfinished = list(range(len(texts)))
        while unfinished:
            parts = [beginning(wholes[place], characters) for place in unfinished]
            found = self._encoded(parts)
            left = []
            for place, part, part_ids in zip(unfinished, parts, found, strict=True):
                ids[place] = part_ids[:most]
                if len(part_ids) < most and part is not wholes[place]:
                    left.append(place)
            unfinished, characters = left, characters * _GROWTH
        return ids

    def _encoded(self, texts: list[str]) -> list[list[int]]:
        return [found.ids for found in self._bert.encode_batch_fast(texts, add_special_tokens=False)]

    def rows(self, texts: Sequence[Sequence[int]]) -> TextRows:
        """The tower's input for one or more results of `words`: truncated, with [CLS] and [SEP], padded."""
        framed = [[self._cls, *words[: self.room], self._sep] for words in texts]
        lengths = np.array([len(words) for words in framed], dtype=np.int64)
        ids = np.full((len(framed), lengths.max()), self._pad, dtype=np.int64)
        for row, words in enumerate(framed):
            ids[row, : len(words)] = words
        return TextRows(ids, lengths)

    def windows(self, words: Sequence[int]) -> list[Sequence[int]]:
        """Split a long text into as few windows of nearly equal length as possible, at most `MAX_WINDOWS`."""
        words = words[: self.room * MAX_WINDOWS]
        count = max(1, -(-len(words) // self.room))
        cuts = [len(words) * i // count for i in range(count + 1)]
        return [words[start:end] for start, end in pairwise(cuts)]


def _shortened(text: str, characters: int, lower_case: bool) -> str:
    whole = folded(text, lower_case)
    return condensed(whole) if len(whole) > characters else whole
