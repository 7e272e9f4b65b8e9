"""Long texts are cut before they are tokenized: the tokens are the first ones of the whole text."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.model import vocabulary
from pipeline.model.local.wordpiece import Rules
from pipeline.model.tokenizer import Tokenizer

FOLDER = Path(str(vocabulary.__path__[0]))
OURS = Tokenizer.load(FOLDER / "vocab.txt", Rules(), 52)

#: What a cut could separate or drop: long words, marks, folding that depends on the next letter, what vanishes.
PIECES = [
    *(
        "红",
        "色",
        "豈",
        "\U00020000",
        "。",
        "，",
        "、",
        "“",
        "”",
        "…",
        "a",
        "Bc",
        "7",
        "é",
        "e\u0301",
        "\u0301",
        "\u0327",
    ),
    *(
        "Σ",
        "ΑΣ",
        "ΑΣ.",
        "İ",
        "ß",
        "ﬁ",
        "я",
        "й",
        "Ё",
        "か",
        "が",
        "か\u3099",
        "パ",
        "한",
        "ก็",
        "\u0f71\u0f72",
        "😀",
        "👩‍👧",
    ),
    *(" ", "\t", "\n", "\r", "\u3000", "\xa0", "\u2028", "-", "_", "##", "[MASK]", "[SEP]", "$", "\x00", "\x7f"),
    *("\u200b", "\ufeff", "\u00ad", "\ufffd", "\ue000", "\U000f0000", "\u0378", "\u302e", "\U0001d165", "ﷺ", "①", "½"),
]
TEXTS = st.lists(
    st.lists(
        st.builds(lambda piece, times: piece * times, st.sampled_from(PIECES), st.integers(1, 130)) | st.text()
    ).map("".join),
    min_size=1,
    max_size=8,
)


@cache
def reference() -> transformers.BertTokenizer:
    return transformers.BertTokenizer(vocab=str(FOLDER / "vocab.txt"), do_lower_case=True)


def whole(texts: list[str]) -> list[list[int]]:
    folded = [text.lower().replace("“", '"').replace("”", '"') for text in texts]
    return reference()(folded, add_special_tokens=False, split_special_tokens=True)["input_ids"]


@settings(max_examples=60, derandomize=True)
@given(TEXTS, st.sampled_from([1, 3, 51, 800]))
def test_the_tokens_of_a_cut_text_are_the_first_of_the_whole(texts, most):
    assert OURS.words(texts, most) == [ids[:most] for ids in whole(texts)]


def test_the_same_for_long_mixtures():
    draw = random.Random(7)
    texts = ["".join(draw.choice(PIECES) * draw.choice([1, 1, 2, 120]) for _ in range(1000)) for _ in range(6)]
    for most in (51, 800):
        assert OURS.words(texts, most) == [ids[:most] for ids in whole(texts)]


@pytest.mark.parametrize(
    "rules",
    [Rules(lower_case=False, strip_accents=False), Rules(strip_accents=False), Rules(chinese_chars=False)],
    ids=str,
)
def test_other_rules_are_those_of_the_reference(rules):
    ours = Tokenizer.load(FOLDER / "vocab.txt", rules, 52)
    theirs = transformers.BertTokenizer(
        vocab=str(FOLDER / "vocab.txt"),
        do_lower_case=rules.lower_case,
        strip_accents=rules.strip_accents,
        tokenize_chinese_chars=rules.chinese_chars,
    )
    draw = random.Random(3)
    texts = [piece.replace("“", "").replace("”", "") for piece in PIECES]
    texts += ["".join(draw.choices(texts, k=40)) for _ in range(60)]
    if rules.lower_case:
        texts = [text.lower() for text in texts]
    expected = theirs(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert ours.words(texts, 2000) == expected
    assert expected != whole(texts)


class Measured(Tokenizer):
    """Adds up the characters that WordPiece gets."""

    characters = 0

    def _encoded(self, texts):
        self.characters += sum(map(len, texts))
        return super()._encoded(texts)


@pytest.mark.parametrize(
    "text", ["红色连衣裙" * 200_000, "ab" * 500_000, " \n" * 500_000 + "红", "http://a.b/c?d=%E7" * 60_000]
)
def test_little_of_a_long_text_is_tokenized(text):
    measured = Measured.load(FOLDER / "vocab.txt", Rules(), 52)
    ids = measured.words([text] * 2, 51)
    assert ids == [whole([text[-1] if text[0] == " " else text[:3000]])[0][:51]] * 2
    assert measured.characters < 20_000
