"""Cuts a long text before it is tokenized, without any effect on the tokens of what is left.

In: a text. Out: a shorter one whose tokens are the same, or a beginning of it whose tokens are the first
ones. WordPiece looks at one word at a time, and no word extends across white space, a Chinese character or ASCII
punctuation, so a text may be cut in front of each of these. None of them is a mark that belongs to the letter before
it. A word of more than 100 characters becomes [UNK], however long it is, so its rest may be left out.
"""

from __future__ import annotations

import re

#: A character in front of which a text may be cut.
_BORDER = re.compile(r"[\t\n\r -/:-@\[-`{-~、。\u4e00-\u9fa5，]")
#: Of these letters and digits, normalization removes none and joins none.
_LETTERS = r"0-9a-z\u0430-\u044f\u3041-\u3096\u30a1-\u30fa"
_BULK = re.compile(rf"([{_LETTERS}]{{101}})[{_LETTERS}]+|[\t\n\r ]{{2,}}")


def folded(text: str, lower_case: bool = True) -> str:
    """The text as the tokenizer gets it: two texts that become equal are the same to the model."""
    return (text.lower() if lower_case else text).replace("“", '"').replace("”", '"')


def condensed(text: str) -> str:
    """A folded text without what cannot change its tokens: the ends of endless words, repeated white space."""
    return _BULK.sub(lambda bulk: bulk[1] or " ", text)


def beginning(text: str, characters: int) -> str:
    """At most `characters` of the beginning, cut between two words; the whole text itself if it is no longer."""
    if len(text) <= characters:
        return text
    found = _BORDER.search(text[characters:0:-1])
    return text[: characters - found.start()] if found else ""
