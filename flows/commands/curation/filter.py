"""`hanclip filter`: judge the rows of a dataset, write what is asked for, show what each rule did.

In: the command's options. Out: tables, a dataset or tars; a bar on stderr, counts on stdout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from flows.terminal import figures
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import facts
from flows.terminal.plain import plain
from pipeline.curation.filter.counts import FilterCounts
from pipeline.curation.filter.filtering import Filtered
from pipeline.curation.filter.rules import read_rules
from pipeline.curation.filter.run import UNREAD, filter_rows
from pipeline.curation.filter.settings import FilterSettings, NamedRule
from pipeline.curation.filter.threshold import CutOff
from pipeline.errors import ConfigError

_PAIRS_SHOWN = 10


def run(out: str, settings: FilterSettings, dry_run: bool, as_json: bool) -> None:
    """Filter, and print what came of it."""
    with phase_bar("Reading keys", transient=False, silent=as_json) as on_phase:
        done = filter_rows(out, settings, on_phase, dry_run)
    if as_json:
        write_json("filter", {"dry_run": dry_run, **done.to_json()})
    else:
        title = "plan (nothing was written)" if dry_run else "complete"
        Console(highlight=False).print(Panel(_told(done.filtered, done.written), title=title, title_align="left"))


def settings_of(rules: Path | None, **given: Any) -> FilterSettings:
    """Settings from options, and from the file of named rules. Raises ConfigError."""
    named = tuple(NamedRule(name=rule.name, sql=rule.sql) for rule in read_rules(rules)) if rules else ()
    try:
        return FilterSettings(rules=named, **given)
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']}. See `hanclip filter --help`.") from error


def _told(filtered: Filtered, written: dict[str, Any]) -> RenderableType:
    return Group(facts(_facts(filtered, written)), Text(), _table(filtered.counts))


def _table(counts: FilterCounts) -> Table:
    """What each rule did. `first` adds up to what was dropped."""
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("rule", no_wrap=True)
    for name in ("drops", "of these first", "alone", "unknown"):
        table.add_column(name, justify="right")
    for rule in counts.rules:
        numbers = (rule.dropped, rule.first, rule.alone, rule.unknown)
        table.add_row(plain(rule.name), *(f"{number:,}" for number in numbers))
    return table


def _facts(filtered: Filtered, written: dict[str, Any]) -> Iterator[tuple[str, object]]:
    counts = filtered.counts
    yield from ((rule.name, " ".join(rule.sql.split())) for rule in counts.rules)
    share = figures.share(counts.kept / counts.rows) if counts.rows else "none"
    yield "rows", f"{counts.rows:,} = {counts.kept:,} kept ({share}) + {counts.dropped:,} dropped"
    pairs = sorted(counts.together.items(), key=lambda item: -item[1])
    if pairs:
        yield "together", ", ".join(f"{one} and {other} {rows:,}" for (one, other), rows in pairs[:_PAIRS_SHOWN])
    if any(rule.unknown for rule in counts.rules):
        yield "unknown", "rows for which a rule is neither true nor false, as for a value that is not there; dropped"
    if filtered.cut:
        yield "threshold", _cut(filtered.cut)
    if "failed" in written:
        lost = f" ({figures.by_reason(written['reasons'])})" if written["failed"] else ""
        kept = f"{counts.kept:,} kept = {written['written']:,} written + {written['failed']:,} failed{lost}"
        yield "images", Text(kept, style="yellow" if written["failed"] else "")
        yield (
            "tars",
            f"{figures.count(written['tars'], 'tar')}, {figures.size(written['size_bytes'])}: {written['uri']}",
        )
    if "dataset" in written:
        yield "dataset", f"{written['written']:,} rows: {written['dataset']}"
    if "tables" in written:
        names = ["kept.parquet", "dropped.parquet", *([UNREAD] if "failed" in written else [])]
        yield "tables", f"{', '.join(names)} in {written['tables']}"


def _cut(cut: CutOff) -> str:
    """The cut-off, and why it may keep more rows than asked for."""
    text = f"{cut.rule.sql} keeps {cut.above + cut.equal:,} of {cut.rows:,} rows that the other rules keep"
    if cut.equal > 1:
        text += f"; {cut.equal:,} rows have this very value and stay together"
    if cut.without_value:
        text += f"; {cut.without_value:,} rows have no {cut.column} and are dropped"
    return text
