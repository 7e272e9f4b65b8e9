"""The facts of a filter: how many rows it kept, what each rule dropped, and what was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flows.terminal import figures
from flows.terminal.marked import Code, Facts, Marked
from pipeline import units
from pipeline.curation.tars.options import LATE, MIXED

#: Counts of a rule as columns of a table; `of these first` adds up to the rows dropped.
RULE_COUNTS = {"dropped": "drops", "first": "of these first", "alone": "alone", "unknown": "unknown"}
_PAIRS_SHOWN = 10


def filter_facts(found: Mapping[str, Any]) -> Facts:
    """`found` is what `hanclip filter --json` prints; `written` is empty for a dry run."""
    share = figures.share(found["kept"] / found["rows"]) if found["rows"] else "none"
    yield "rows", f"{found['rows']:,} = {found['kept']:,} kept ({share}) + {found['dropped']:,} dropped"
    pairs = sorted(found["together"], key=lambda pair: -pair["dropped"])[:_PAIRS_SHOWN]
    if pairs:
        yield "together", ", ".join(f"{' and '.join(pair['rules'])} {pair['dropped']:,}" for pair in pairs)
    if any(rule["unknown"] for rule in found["rules"]):
        yield "unknown", "rows for which a rule is neither true nor false, as when a value is missing; dropped"
    if cut := found["threshold"]:
        yield "threshold", Marked(Code(rule_sql(found["rules"][-1])), *_cut(cut))  # the last rule is the cut-off
    yield from _written(found["kept"], found["written"])


def rule_counts(rule: Mapping[str, Any]) -> Iterator[str]:
    """The cells of a rule below `RULE_COUNTS`."""
    return (f"{rule[name]:,}" for name in RULE_COUNTS)


def rule_sql(rule: Mapping[str, Any]) -> str:
    """The rule on one line."""
    return " ".join(rule["sql"].split())


def _cut(cut: Mapping[str, Any]) -> Iterator[str]:
    """What the cut-off keeps, and why that may be more rows than asked for."""
    yield f" keeps {cut['above'] + cut['equal']:,} of {units.count(cut['rows'], 'row')} that the other rules keep"
    if cut["equal"] > 1:
        yield f"; {cut['equal']:,} rows have this very value and stay together"
    if cut["without_value"]:
        have, are = ("has", "is") if cut["without_value"] == 1 else ("have", "are")
        yield f"; {units.count(cut['without_value'], 'row')} {have} no {cut['column']} and {are} dropped"


def _written(kept: int, written: Mapping[str, Any]) -> Facts:
    if "failed" in written:
        lost = f" ({figures.by_reason(written['reasons'])})" if written["failed"] else ""
        text = f"{kept:,} kept = {written['written']:,} written + {written['failed']:,} failed{lost}"
        yield "images", Marked(text, tone="warning" if written["failed"] else "")
        tars = f"{units.count(written['tars'], 'tar')}, {units.size(written['size_bytes'])}: "
        yield "tars", Marked(tars, Code(written["uri"]))
        if written.get("mixed"):
            yield "samples", Marked(f"{MIXED} ({'; '.join(written['mixed'])})", tone="warning")
        if written.get("late"):
            yield "columns", Marked(f"{', '.join(written['late'])}: {LATE}", tone="warning")
    if "dataset" in written:
        yield "dataset", Marked(f"{units.count(written['written'], 'row')}: ", Code(written["dataset"]))
    if "tables" in written:
        names = ["kept.parquet", "dropped.parquet", *(["unread.parquet"] if "failed" in written else [])]
        yield "tables", Marked(f"{', '.join(names)} in ", Code(written["tables"]))
