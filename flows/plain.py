"""Words of others on a terminal: captions, ids, paths and messages as they are, and nothing more.

In: any value. Out: `rich` text that is printed letter by letter. Markup, codes of emoji such as `:cat:` and control
characters, which could move the cursor or rename the window, have no effect; the latter are seen as their pictures.
"""

from __future__ import annotations

from rich.text import Text

#: U+2400 and on has a picture of each control character; the line feed and the tab are what tables fold and expand.
_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def plain(value: object, style: str = "") -> Text:
    """`value` as text that says what it says, and does nothing."""
    return Text(str(value).translate(_PICTURES), style=style)
