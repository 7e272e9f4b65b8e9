"""Reads a tokenizer's vocabulary and rules, without torch and transformers.

In: `vocab.txt` or `tokenizer.json`, and `tokenizer_config.json` if there is one. Out: the id of each token, and
`Rules`. The released models have a vocabulary only; their rules are the defaults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.model.local.small_files import read_json, read_text

#: The vocabulary of every released Chinese CLIP: that of Google's BERT for Chinese, 21,128 lines.
STANDARD_VOCABULARY_SHA256 = "45bbac6b341c319adc98a532532882e91a9cefc0329aa57bac9ae761c27b291c"
STANDARD_VOCABULARY_SIZE = 21128
#: Tokens that every vocabulary has: padding, unknown words, and the first and last token of a text.
REQUIRED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True, slots=True)
class Rules:
    """How a text is cleaned and split before its words are looked up.

    Attributes:
        lower_case: everything in lower case.
        strip_accents: letters without their accents.
        chinese_chars: each Chinese character is a word of its own.
    """

    lower_case: bool = True
    strip_accents: bool = True
    chinese_chars: bool = True

    def settings(self) -> dict[str, bool]:
        """The rules that differ from the released models', by transformers' names."""
        usual = Rules()
        named = {
            "do_lower_case": (self.lower_case, usual.lower_case),
            "strip_accents": (self.strip_accents, usual.strip_accents),
            "tokenize_chinese_chars": (self.chinese_chars, usual.chinese_chars),
        }
        return {name: ours for name, (ours, theirs) in named.items() if ours != theirs}


def read_vocabulary(path: Path) -> dict[str, int]:
    """The id of each token. Raises ModelError if the file holds no vocabulary of a BERT."""
    try:
        text = read_text(path)
        vocabulary = _lines(text) if path.suffix == ".txt" else _word_pieces(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{path} holds no vocabulary ({error}): take it from the model that yours was tuned from."
        ) from error
    missing = [token for token in REQUIRED if token not in vocabulary]
    if missing:
        raise ModelError(
            f"{path} lacks the tokens {', '.join(missing)}: take it from the model that yours was tuned from."
        )
    return vocabulary


def vocabulary_digest(vocabulary: Mapping[str, int]) -> str:
    """SHA-256 hex digest of a vocabulary, whatever its file: that of a `vocab.txt` with these tokens."""
    ordered = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[token] for token in ordered] != list(range(len(ordered))):
        return hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest()
    return hashlib.sha256("".join(f"{token}\n" for token in ordered).encode()).hexdigest()


def read_rules(config: Path | None, tokenizer: Path | None) -> Rules:
    """The rules in `tokenizer_config.json`, else in `tokenizer.json`, else the released models'. Raises ModelError."""
    tree: Mapping[str, Any] = read_json(config) if config else {}
    inner = read_json(tokenizer).get("normalizer") if tokenizer else None
    inner = inner if isinstance(inner, dict) and inner.get("type") == "BertNormalizer" else {}
    lower = _rule(tree, "do_lower_case", inner.get("lowercase", True))
    strip = _rule(tree, "strip_accents", inner.get("strip_accents"))
    return Rules(
        lower_case=bool(lower),
        strip_accents=bool(lower if strip is None else strip),
        chinese_chars=bool(_rule(tree, "tokenize_chinese_chars", inner.get("handle_chinese_chars", True))),
    )


def _rule(tree: Mapping[str, Any], name: str, default: Any) -> Any:
    value = tree.get(name)
    return default if value is None else value


def _lines(text: str) -> dict[str, int]:
    """One token per line; its id is the line's number."""
    return {line: number for number, line in enumerate(text.removesuffix("\n").split("\n"))}


def _word_pieces(tree: Mapping[str, Any]) -> dict[str, int]:
    model = tree["model"]
    if model.get("type", "WordPiece") != "WordPiece":
        raise ValueError(f"a tokenizer of type {model['type']}, not WordPiece")
    return dict(model["vocab"])
