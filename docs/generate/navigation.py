"""Writes the navigation of the site.

In: `navigation.yaml`, and the pages that there are. Out: the setting `nav` as TOML. An entry that ends with `/` is a
folder with all of its pages by name; the pages of `docs/` that no entry names stand at the end of the guides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.yaml_text import load_unique

_FILE = Path(__file__).parents[1] / "navigation.yaml"
#: The group that takes pages without an entry.
_REST = "How-to guides"


class NavigationError(Exception):
    """The navigation names a page that does not exist."""


def navigation(pages: Iterable[str]) -> str:
    """The navigation of these pages as a TOML array. Raises NavigationError."""
    known = set(pages)
    tree: list[Any] = load_unique(_FILE.read_text(encoding="utf-8"))
    named = set(_leaves(tree))
    if missing := sorted(name for name in named if name not in known and not name.endswith("/")):
        raise NavigationError(f"docs/navigation.yaml names {missing[0]}, which is no page. Correct or remove it.")
    folders = tuple(name for name in named if name.endswith("/"))
    rest = sorted(name for name in known - named if not name.startswith(folders))
    return _toml([_expanded(entry, known, rest) for entry in tree])


def _leaves(tree: Any) -> Iterator[str]:
    if isinstance(tree, str):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _leaves(inner)


def _expanded(entry: Any, known: set[str], rest: list[str]) -> Any:
    """An entry whose folders are lists of pages, an index first."""
    if not isinstance(entry, dict):
        return entry
    [(name, below)] = entry.items()
    if isinstance(below, list):
        return {name: [_expanded(one, known, rest) for one in below] + (rest if name == _REST else [])}
    if below.endswith("/"):
        found = (page for page in known if page.startswith(below))
        return {name: sorted(found, key=lambda page: (not page.endswith("/index.md"), page))}
    return entry


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
