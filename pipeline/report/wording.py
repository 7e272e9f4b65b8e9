"""The words of the pages in English and Chinese.

In: keys of the catalog (`catalog/*.toml`, one file for each section, and the words of all pages) and values. Out:
phrases. A template prints a phrase in both languages, and the page shows that of its reader; without a script it is
English.

A key is `file.name`. In a text, `{name}` is a value; `{n:row}` counts it ("1 row", "2,000 rows"); `{n:is|are}` chooses
by it. `` `code` ``, `*good*` and `**bad**` are the only markup. Values are escaped, and are never markup. The entry
`name_why` explains `name`, and the page shows it on demand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from pipeline import units
from pipeline.pages.shared import LANGUAGES, Language, Words, read_words
from pipeline.visible import visible

_FOLDER = Path(__file__).parent / "catalog"
_MARKUP = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(.+?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(.+?)\*"), r"<em>\1</em>"),
    (re.compile(r"(?<![\w-])--[a-z][\w-]*"), r'<span class="option">\g<0></span>'),  # no line ends after its hyphens
)
_VALUE = re.compile(r"\{(\w+)(?::([^}]+))?\}")


@cache
def catalog() -> Words:
    """The text of each key in each language."""
    return read_words(_FOLDER)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A text of the catalog with its values: numbers, texts and other phrases."""

    key: str
    values: tuple[tuple[str, Any], ...] = ()

    def text(self, language: Language) -> str:
        """The phrase without markup, for attributes."""
        pattern = catalog()[self.key][language].replace("`", "").replace("*", "")
        return _VALUE.sub(lambda found: self._value(found, language), pattern)

    def html(self, language: Language) -> Markup:
        """The phrase as HTML, with its values escaped."""
        pattern = str(escape(catalog()[self.key][language]))
        for sign, marked in _MARKUP:
            pattern = sign.sub(marked, pattern)
        return Markup(_VALUE.sub(lambda found: self._value(found, language, html=True), pattern))

    def _value(self, found: re.Match[str], language: Language, html: bool = False) -> str:
        value, form = dict(self.values)[found[1]], found[2]
        if isinstance(value, Phrase):
            return str(value.html(language) if html else value.text(language))
        if isinstance(value, int):
            if form and "|" in form:
                return form.split("|")[value != 1]
            return units.count(value, form) if form else f"{value:,}"
        return str(escape(visible(str(value)))) if html else visible(str(value))

    def __html__(self) -> str:
        english, chinese = (self.html(language) for language in LANGUAGES)
        if english == chinese:
            return f'<span class="same">{english}</span>'
        return f'<span class="en">{english}</span><span class="zh" lang="zh-Hans">{chinese}</span>'


def say(key: str, **values: Any) -> Phrase:
    """The phrase of `key`."""
    return Phrase(key, tuple(values.items()))


def explained(key: str) -> Phrase | None:
    """The explanation of a phrase, if the catalog has one."""
    return Phrase(f"{key}_why") if f"{key}_why" in catalog() else None


def known(key: str, fallback: str) -> Phrase | str:
    """The phrase of `key`, or `fallback` if there is none: a value of a later or an earlier version."""
    return Phrase(key) if key in catalog() else fallback


def listed(parts: Iterable[Phrase | str]) -> Phrase | str:
    """The parts with commas between them."""
    return reduce(lambda first, second: say("units.comma", first=first, second=second), parts)


def attribute(value: Phrase | str, name: str) -> Markup:
    """An HTML attribute in both languages: the script of the page moves the reader's into `name`."""
    if not isinstance(value, Phrase):
        return Markup('{}="{}"').format(name, visible(value))
    texts = [value.text(language) for language in LANGUAGES]
    if texts[0] == texts[1]:
        return Markup('{}="{}"').format(name, texts[0])
    return Markup('{0}="{1}" data-zh-{0}="{2}"').format(name, *texts)


def content(value: Phrase | str, tag: str) -> Markup:
    """An element that cannot contain others, such as `title` and `option`, in both languages."""
    english, chinese = (value.text(one) if isinstance(value, Phrase) else visible(value) for one in LANGUAGES)
    return Markup('<{0} data-zh="{2}">{1}</{0}>').format(tag, english, chinese)
