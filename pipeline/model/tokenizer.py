"""Texts in, token ids out, as Chinese CLIP's published numbers were made.

BERT WordPiece, lower-cased, cut to 52 tokens with [CLS] and [SEP]. Like the reference's evaluation (and unlike its bare
`tokenize`), texts are lower-cased by Python first and the quotes “ ”, which the vocabulary lacks, become `"`. Special
tokens written out in a text, such as `[MASK]`, are ordinary characters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from pipeline.errors import ModelError

_QUOTES = str.maketrans({"“": '"', "”": '"'})
_NEEDED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class Tokens(NamedTuple):
    """(T, L) int64 ids and mask on the CPU, L the longest text's number of tokens."""

    ids: torch.Tensor
    mask: torch.Tensor


class Tokenizer:
    """WordPiece over a model folder's vocabulary.

    Attributes:
        size: number of known tokens.
    """

    def __init__(self, vocabulary: dict[str, int], context_length: int) -> None:
        from transformers import BertTokenizer

        self.size = max(vocabulary.values()) + 1
        self._context_length = context_length
        self._bert = BertTokenizer(vocab=vocabulary, do_lower_case=True)

    @classmethod
    def load(cls, folder: Path, context_length: int) -> Tokenizer:
        """From `vocab.txt`, or the vocabulary inside `tokenizer.json`. Raises ModelError."""
        path = next(folder / name for name in ("vocab.txt", "tokenizer.json") if (folder / name).is_file())
        try:
            text = path.read_text(encoding="utf-8")
            vocabulary = _lines(text) if path.suffix == ".txt" else dict(json.loads(text)["model"]["vocab"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} holds no vocabulary: download it again from the model's page.") from error
        missing = [token for token in _NEEDED if token not in vocabulary]
        if missing:
            raise ModelError(f"{path} lacks the tokens {', '.join(missing)}: take vocab.txt from the model's page.")
        return cls(vocabulary, context_length)

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token ids of one or more texts, padded to the longest of them."""
        words = self._bert(
            [text.lower().translate(_QUOTES) for text in texts],
            padding=True,
            truncation=True,
            max_length=self._context_length,
            split_special_tokens=True,
            return_token_type_ids=False,
            return_tensors="pt",
        )
        return Tokens(words["input_ids"], words["attention_mask"])


def _lines(text: str) -> dict[str, int]:
    """One token a line; the line's number is its id."""
    return {line: number for number, line in enumerate(text.removesuffix("\n").split("\n"))}
