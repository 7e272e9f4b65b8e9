"""`hanclip filter`: judge the rows of a dataset, write what is asked for, show what each rule did.

In: the command's options. Out: tables, a dataset or tars; a bar on stderr, counts on stdout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from flows import figures
from flows.audits import write_json
from flows.filter_commands import Form
from flows.summary import facts
from pipeline import storage
from pipeline.curation.filter import Filtered, OnProgress, filtering, tables_folder, write_tables
from pipeline.curation.filter_counts import Counts
from pipeline.curation.filter_rules import WHERE, Rule, read_rules
from pipeline.curation.filter_threshold import Cut, Threshold
from pipeline.curation.tar_writer import TarLimits
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.workspace import Workspace

UNREAD = "unread.parquet"
_PAIRS_SHOWN = 10
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    out: str
    dest: str | None
    where: str | None
    rules: Path | None
    threshold_for: str | None
    form: Form
    name: str
    tar_rows: int
    tar_bytes: int | None

    def check(self) -> None:
        """Raise ConfigError for options that do not go together."""
        if not (self.where or self.rules or self.threshold_for):
            raise ConfigError("No rule was given: write --where 'similarity >= 0.28', --rules FILE or --threshold-for.")
        if self.form != Form.IDS and not self.dest:
            raise ConfigError(f"--as {self.form} needs a folder: write hanclip filter OUT DEST --as {self.form}.")
        if not _NAME.fullmatch(self.name):
            raise ConfigError(f"{self.name!r} is no name for a filter: take letters, digits, - and _.")
        out, dest = f"{storage.normalise(self.out)}/", f"{storage.normalise(self.dest)}/" if self.dest else ""
        if self.form != Form.IDS and (dest.startswith(out) or out.startswith(dest)):
            raise ConfigError(f"{self.dest} and the dataset {self.out} lie in one another: choose another DEST.")

    @property
    def folder(self) -> str:
        """Where the tables go."""
        if self.form == Form.IDS and self.dest:
            return storage.normalise(self.dest)
        return tables_folder(storage.normalise(self.out), self.name)

    def all_rules(self) -> list[Rule]:
        """Those of the file, then the one of the command line."""
        named = read_rules(self.rules) if self.rules else []
        return [*named, *([Rule(WHERE, self.where)] if self.where else [])]


def run(request: Request, dry_run: bool, as_json: bool) -> None:
    """Filter, and print what came of it."""
    request.check()
    rules = request.all_rules()
    threshold = Threshold.parse(request.threshold_for) if request.threshold_for else None
    with _progress(as_json) as on_progress:
        also = _columns(request)
        with filtering(request.out, rules, threshold, on_progress, also) as (filtered, work):
            written = {} if dry_run else _write(request, filtered, work, on_progress)
    if as_json:
        write_json("filter", _as_json(filtered, written, dry_run))
    else:
        title = "plan (nothing was written)" if dry_run else "complete"
        Console(highlight=False).print(Panel(_told(filtered, written), title=title, title_align="left"))


def _columns(request: Request) -> list[str]:
    if request.form != Form.TARS:
        return []
    from pipeline.curation.tars import columns_of
    from pipeline.dataset import Dataset

    return columns_of(Dataset.open(request.out))


def _write(request: Request, filtered: Filtered, work: Workspace, on_progress: OnProgress) -> dict[str, Any]:
    """Write the tables and what else is asked for; says what and where."""
    storage.check_writable(request.folder)
    kept = filtered.counts.kept
    write_tables(request.folder, filtered, work)
    told: dict[str, Any] = {"tables": request.folder}
    storage.delete(storage.join(request.folder, UNREAD))  # of an earlier filter of this name
    if request.form == Form.IDS:
        return told
    uri = storage.normalise(request.dest or "")
    storage.check_writable(uri)
    if request.form == Form.DATASET:
        from pipeline.curation.filter_dataset import write_dataset

        made = write_dataset(filtered, work, uri, lambda rows: on_progress("Copying rows", rows, kept))
        return {**told, "dataset": uri, "written": made.rows}
    from pipeline.curation.tars import write_failures, write_tars

    limits = TarLimits(request.tar_rows, request.tar_bytes)
    tars = write_tars(filtered, work, uri, limits, lambda rows: on_progress("Copying images", rows, kept))
    write_failures(storage.join(request.folder, UNREAD), tars, filtered)
    reasons: dict[str, int] = {}
    for failure in tars.failures:
        reasons[failure["reason"]] = reasons.get(failure["reason"], 0) + 1
    sizes = {"tars": len(tars.notes), "size_bytes": tars.size_bytes}
    return {**told, "uri": uri, "written": tars.written, "failed": len(tars.failures), "reasons": reasons, **sizes}


@contextmanager
def _progress(silent: bool) -> Iterator[OnProgress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=silent) as progress:
        task = progress.add_task("Reading keys", total=None)

        def show(doing: str, done: int, total: int | None) -> None:
            progress.update(task, description=doing, completed=done, total=total)

        yield show


def _as_json(filtered: Filtered, written: dict[str, Any], dry_run: bool) -> dict[str, Any]:
    counts = filtered.counts
    return {
        "dry_run": dry_run,
        "out": filtered.out,
        "rows": counts.rows,
        "kept": counts.kept,
        "dropped": counts.dropped,
        "rules": [asdict(rule) for rule in counts.rules],
        "together": [{"rules": pair, "dropped": rows} for pair, rows in counts.together.items()],
        "threshold": asdict(filtered.cut) if filtered.cut else None,
        "written": written,
    }


def _told(filtered: Filtered, written: dict[str, Any]) -> RenderableType:
    return Group(facts(_facts(filtered, written)), Text(), _table(filtered.counts))


def _table(counts: Counts) -> Table:
    """What each rule did. `first` adds up to what was dropped."""
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("rule", no_wrap=True)
    for name in ("drops", "of these first", "alone", "unknown"):
        table.add_column(name, justify="right")
    for rule in counts.rules:
        numbers = (rule.dropped, rule.first, rule.alone, rule.unknown)
        table.add_row(Text(rule.name), *(f"{number:,}" for number in numbers))
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


def _cut(cut: Cut) -> str:
    """The cut-off, and why it may keep more rows than asked for."""
    text = f"{cut.rule.sql} keeps {cut.above + cut.equal:,} of {cut.rows:,} rows that the other rules keep"
    if cut.equal > 1:
        text += f"; {cut.equal:,} rows have this very value and stay together"
    if cut.without_value:
        text += f"; {cut.without_value:,} rows have no {cut.column} and are dropped"
    return text
