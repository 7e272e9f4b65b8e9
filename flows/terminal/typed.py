"""The words of a command line as text, and none that can only be a mistake.

In: arguments as Python hands them over, where bytes that are not in the locale's encoding are surrogates. Out: the
same, with such a word decoded as GB18030, which is what a Chinese Windows or an old terminal sends. A word that names
what is on this machine's disk keeps its bytes, which need not be text. An empty word, as from a shell variable that is
not set, would be the working directory, and `-` would be a file of this name: both are refused.
"""

from __future__ import annotations

import os

from pipeline.errors import ConfigError


def as_text(given: list[str]) -> list[str]:
    """The words as text. Raises ConfigError for a word that is a mistake."""
    return [_as_text(word, _place(given, number)) for number, word in enumerate(given)]


def _place(given: list[str], number: int) -> str:
    before = given[number - 1] if number else ""
    return f"The value of {before}" if before.startswith("--") and "=" not in before else f"Argument {number + 1}"


def _as_text(word: str, place: str) -> str:
    option, given, value = word.partition("=")
    if option.startswith("--") and given:
        place = f"The value of {option}"
    else:
        value = word
    if not value.strip():
        raise ConfigError(f"{place} is empty: give a value, or leave it out.")
    if value == "-":
        raise ConfigError(f"{place} is -: hanclip reads and writes no pipes. Name a file or folder.")
    if "\0" in value:
        raise ConfigError(f"{place}, {value!r}, holds a NUL character: leave it out.")
    try:
        word.encode()
    except UnicodeEncodeError:
        return _decoded(word)
    return word


def _decoded(word: str) -> str:
    try:
        if _is_on_disk(word):
            return word
        return os.fsencode(word).decode("gb18030")
    except UnicodeError as error:
        raise ConfigError(
            f"An argument, {word!a}, is neither UTF-8 nor GB18030: set the terminal's encoding to UTF-8."
        ) from error


def _is_on_disk(word: str) -> bool:
    folder = os.path.dirname(word)
    return os.path.lexists(word) or (bool(folder) and os.path.isdir(folder))
