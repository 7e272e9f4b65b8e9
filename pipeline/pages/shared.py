"""The files and words that every page has.

In: folders of TOML files. Out: the texts of each key in each language, and the text of a shared file. A key is
`file.name`; `pipeline.report.wording` says what a text may hold.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

Language = Literal["en", "zh"]
#: The texts of each key in each language.
Words = Mapping[str, Mapping[Language, str]]
LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
_FOLDER = Path(__file__).parent


def read_words(folder: Path) -> Words:
    """The words of a page: those of all pages, and those in `folder`."""
    paths = sorted([*(_FOLDER / "catalog").glob("*.toml"), *folder.glob("*.toml")])
    files = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in paths}
    return {f"{file}.{name}": texts for file, entries in files.items() for name, texts in entries.items()}


def shared_file(name: str) -> str:
    """`look.css`, `early.js` (runs before anything is shown) or `theme.js` (runs when the buttons are there)."""
    return (_FOLDER / name).read_text(encoding="utf-8").strip()
