"""Compare what `hanclip dedup` found with the copies that the demo catalog has on purpose.

Usage: python planted.py OUT IMPERFECTIONS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq


def main(out: str, imperfections: str) -> None:
    """Print, for each kind of copy, how many are in the same group as their original."""
    rows = pq.read_table(Path(out) / "dedup" / "dedup.parquet", columns=["id", "group", "keep"]).to_pylist()
    groups = {row["id"].rpartition("/")[2]: row["group"] for row in rows}
    planted = json.loads(Path(imperfections).read_text(encoding="utf-8"))
    for kind in ("exact_duplicates", "near_duplicates"):
        pairs = [(one["key"], one["original"]) for one in planted[kind] if {one["key"], one["original"]} <= set(groups)]
        found = sum(groups[copy] is not None and groups[copy] == groups[original] for copy, original in pairs)
        print(f"{kind.replace('_', ' ')}: {found} of {len(pairs)} found")
    dropped = sum(not row["keep"] for row in rows)
    print(f"dropped: {dropped} of {len(rows)} rows; the others are drawings that differ in a detail")


if __name__ == "__main__":
    main(*sys.argv[1:])
