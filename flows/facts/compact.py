"""The facts of a compaction in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.terminal.marked import Code, Facts, Marked
from pipeline import units


def compact_facts(found: Mapping[str, Any]) -> Facts:
    """`found` is what `hanclip compact OUT --json` prints."""
    ideal = f"{found['ideal_files']:,} would hold all rows, {found['target_rows']:,} in each"
    yield "files", f"{found['files']:,} -> {found['files_after']:,}; {ideal}"
    if found["replaced"]:
        rows = units.count(found["rows"], "row")
        yield "rewritten", f"{found['replaced']:,} files with {rows} as {found['written']:,}"
        yield "bytes", f"{units.size(found['read_bytes'])} to read, {units.size(found['written_bytes'])} to write"
    if found["rows_dropped"]:
        yield "left out", f"{units.count(found['rows_dropped'], 'superseded row')}"
    if found["resumed"]:
        yield "resumed", "an unfinished compaction, with the settings that it began with"
    if found["deleted"]:
        yield "deleted", f"{found['deleted']:,} files that earlier compactions replaced"
    if found["waiting"]:
        yield "waiting", f"{found['waiting']:,} replaced files, which a `hanclip compact` after --grace-hours deletes"
    yield "dataset", Marked(Code(found["out"]))
