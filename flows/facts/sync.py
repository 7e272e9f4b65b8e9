"""The facts of a sync, and of a comparison of a database with its dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.terminal.marked import Code, Facts, Marked
from pipeline import units

_COMPARED = {
    "nothing": "nothing, because nothing has changed since the last sync",
    "changes": "the ids that changed since the last sync",
    "all": "all ids",
}


def sync_facts(found: Mapping[str, Any]) -> Facts:
    """`found` is what `hanclip sync --json` prints."""
    yield "of", Marked(Code(found["out"]))
    yield "to", _place(found)
    if found["resumed"]:
        yield "resumed", "an earlier sync that did not end"
    yield "compared", _COMPARED[found["compared"]]
    yield "rows", f"{found['inserted']:,} inserted, {found['replaced']:,} replaced, {found['deleted']:,} deleted"
    yield "holds", units.count(found["rows"], "row")


def verified_facts(found: Mapping[str, Any]) -> Facts:
    """`found` is what `hanclip sync --verify --json` prints."""
    yield "of", Marked(Code(found["out"]))
    yield "to", _place(found)
    held, expected = f"{found['held']:,}", f"{found['expected']:,}"
    yield "rows", Marked(f"{held} held, {expected} expected", tone="" if held == expected else "error")
    yield "compared", units.count(found["compared"], "id")
    for kind in ("missing", "stale", "extra"):
        if found[kind]:
            ids = ", ".join(found["examples"][kind])
            yield kind, Marked(f"{units.count(found[kind], 'row')}, such as {ids}", tone="error")
    if not found["complete"]:
        yield "note", Marked("the last sync did not end: run the same command without --verify", tone="warning")


def _place(found: Mapping[str, Any]) -> Marked:
    return Marked(Code(found["dest"]), f", {found['collection']} ({found['to']})")
