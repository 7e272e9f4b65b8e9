"""Makes characters visible that would hide or reorder text: captions, ids and paths are written by others.

In: text. Out: the same text with control characters, direction marks and invisible characters as signs. A terminal
and a page show it as it is: nothing in it moves the cursor, turns the line around, or looks like another id.
"""

from __future__ import annotations

import re

#: Controls except line feed and tab; soft hyphen; fillers; direction marks, separators and characters without width;
#: halves of surrogate pairs; tags. Emoji need joiners (200C, 200D), and flags of regions need tags.
HIDDEN = re.compile(
    "\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f|"
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """The text with a sign for each character that has an effect or cannot be seen: `<U+202E>`, or `␛` for escape."""
    return HIDDEN.sub(_sign, text)


def _sign(found: re.Match[str]) -> str:
    character = found[0]
    if len(character) > 1:  # the flag of a region
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of these controls
    return "\u2421" if code == 0x7F else f"<U+{code:04X}>"
