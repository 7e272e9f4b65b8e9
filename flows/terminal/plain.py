"""Words of others on a terminal: captions, ids, paths and messages as they are, and nothing more.

In: any value. Out: `rich` text that is printed letter by letter. Markup and codes of emoji such as `:cat:` have no
effect, nor have characters which could move the cursor, rename the window or turn the line around: they are seen.
"""

from __future__ import annotations

from rich.text import Text

#: U+2400 and on has a picture of each control character; the line feed and the tab are what tables fold and expand.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def plain(value: object, style: str = "") -> Text:
    """`value` as text that says what it says, and does nothing."""
    return Text(str(value).translate(_PICTURES), style=style)


def line(value: str, length: int) -> Text:
    """The beginning of a long text, on one line."""
    words = " ".join(value.split())
    return plain(words if len(words) <= length else f"{words[: length - 1]}…")
