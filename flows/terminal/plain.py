"""Escapes user-supplied text for the terminal: captions, ids, paths and messages.

In: any value. Out: `rich` text that is printed literally. Markup and emoji codes such as `:cat:` have no effect, and
control characters, which could move the cursor, set the window's title or reverse the line, are made visible.
"""

from __future__ import annotations

from rich.text import Text

#: U+2400 onwards are pictures of the control characters. Tables need line feeds and tabs.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys([*range(0x80, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)], 0xFFFD),
}


def plain(value: object, style: str = "") -> Text:
    """`value` as text without any effect."""
    return Text(str(value).translate(_PICTURES), style=style)


def line(value: str, length: int) -> Text:
    """The beginning of a text, on one line."""
    words = " ".join(value.split())
    return plain(words if len(words) <= length else f"{words[: length - 1]}…")
