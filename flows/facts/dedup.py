"""The facts of a search for duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked


def dedup_facts(found: Mapping[str, Any]) -> Facts:
    """`found` is what `hanclip dedup --json` prints."""
    yield "rows", f"{found['rows']:,} = {found['kept']:,} kept + {found['dropped']:,} dropped"
    yield "groups", f"{found['groups']:,}"
    yield "dropped by", figures.by_reason(found["by_rung"]) or f"nothing ({', '.join(found['rungs'])})"
    if found.get("elsewhere"):
        yield "elsewhere", f"{found['elsewhere']:,} of them duplicate rows of other datasets (--against)"
    if found["largest"]:
        yield "largest", ", ".join(f"{size:,} rows ({name})" for name, size in found["largest"])
    if found["lowest_cosine"] is not None:
        yield "least alike", f"cosine {found['lowest_cosine']:.3f} with the row that it duplicates"
    if found["vectors"]:
        compared = f"{found['compared']:,} pairs compared"
        yield "vectors", f"{found['vectors']:,}, {found['new_vectors']:,} of them new; {compared}"
    yield "table", Marked(Code(found["uri"]))
    if found.get("pairs_uri"):  # jobs of earlier versions reported neither
        yield "pairs", Marked(Code(found["pairs_uri"]))
    for note in found.get("notes", ()):
        yield "note", f"{note}."
