"""What a finished run or a dry run says to a person: where every row went, what set the pace, what to do next.

In: `Summary` and `DryRun`. Out: renderables for stdout. The first line always adds up:
rows in = embedded + quarantined (+ already done + committed by another run + left).
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from flows.terminal import figures
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from pipeline.jobs.progress import Bottleneck, Summary
from pipeline.vocabulary import TRANSIENT_REASONS

if TYPE_CHECKING:
    from actors.dry_run import DryRun

#: What the shell, or Python's quotes, would not leave as it is; otherwise a line is readable without escapes.
_UNSAFE = re.compile(r"['\"$`\\!]")
_STYLES = {"complete": "green", "stopped": "yellow", "failed": "red"}


def next_commands(summary: Summary) -> list[str]:
    """Shell lines that make sense now, and work whether or not the environment is activated."""
    out, quarantined = shlex.quote(summary.output), summary.stats.quarantined
    commands = [f"{_program('hanclip')} verify {out}"]
    passing = [reason for reason in quarantined if reason in TRANSIENT_REASONS]
    if passing:
        commands.append(
            f"{_program('hanclip')} retry {out} " + " ".join(f"--reason {reason}" for reason in sorted(passing))
        )
    if "://" not in summary.output:
        if quarantined:
            commands.append(_query("id, reason, detail", summary.output, "_quarantine"))
        if summary.state == "complete":
            # The vectors would fill the screen, and not every dataset has texts.
            commands.append(
                _query("columns(lambda c: c in ('id', 'text', 'similarity'))", summary.output, "embeddings")
            )
    return commands


def _program(name: str) -> str:
    """The shortest spelling of a program of this environment that the shell finds."""
    own = Path(sys.executable).with_name(name)
    found = shutil.which(name)
    if found and os.path.realpath(found) == os.path.realpath(own):
        return name
    near = os.path.relpath(os.path.realpath(own.parent) + f"/{name}")
    return shlex.quote(str(own) if near.startswith("..") else near)


def _query(columns: str, out: str, folder: str) -> str:
    """A shell line that shows some rows."""
    files = f"{out}/{folder}/**/*.parquet".replace("'", "''")
    sql = f"select {columns} from '{files}' limit 20"
    if _UNSAFE.search(out):
        code = shlex.quote(f"import duckdb; duckdb.sql({sql!r}).show()")
    else:
        code = f"\"import duckdb; duckdb.sql('''{sql}''').show()\""
    return f"{_program('python')} -c {code}"


def final(summary: Summary) -> RenderableType:
    """The panel at the end of a run."""
    style = _STYLES.get(summary.state, "")
    title = Text(f"{summary.state} in {figures.duration(summary.seconds)}", style=style)
    return panel(title, _ended(summary, style))


def _ended(summary: Summary, style: str) -> Iterator[tuple[str, object]]:
    yield "rows in", summary.balance
    if summary.rows_vanished:
        yield "vanished", f"{summary.rows_vanished:,} ids that the catalog no longer holds"
    if summary.stats.quarantined:
        yield "quarantine", figures.by_reason(summary.stats.quarantined)
        if summary.examples:
            yield "for example", figures.examples(summary.examples)
    if summary.stats.texts:
        yield "long texts", figures.long_texts(summary.stats)
    if summary.stats.records:
        yield "speed", _speed(summary)
    if summary.bottleneck:
        yield "bottleneck", pace(summary.bottleneck)
    if summary.actors_replaced:
        yield "actors", f"{summary.actors_replaced} replaced after they died"
    yield "model", summary.model
    yield "output", f"{summary.output} (run_date={summary.run_date})"
    for note in summary.notes:
        yield "source", plain(note, "yellow")
    if summary.message:
        yield "note", plain(summary.message, style)


def _speed(summary: Summary) -> str:
    stats = summary.stats
    return (
        f"{figures.rate(summary.records_per_s)} records/s after {figures.duration(summary.startup_s)} of start-up,"
        f" read {figures.size(stats.bytes_read)}, wrote {figures.size(stats.bytes_written)}"
    )


def pace(found: Bottleneck) -> str:
    """Which stage set the pace, and what would make the run faster."""
    busy = ", ".join(f"{stage} {figures.share(part)}" for stage, part in found.busy.items())
    if found.stage is None:
        return f"{found.advice} (busy: {busy})"
    return f"{found.stage} (busy: {busy}). {found.advice}"


def plan(dry: DryRun) -> RenderableType:
    """What `--dry-run` prints."""
    pairs = [
        ("source", dry.source),
        ("rows in", f"{dry.rows_in:,} = {dry.rows:,} to do + {dry.rows_already_done:,} already done"),
        *([("vanished", f"{dry.rows_vanished:,} ids that the catalog no longer holds")] if dry.rows_vanished else []),
        ("shards", _shards(dry)),
        ("bytes", "unknown: the source does not tell" if dry.size_bytes is None else figures.size(dry.size_bytes)),
        ("actors", f"{dry.decoders} decoders, {dry.embedders} embedders, chunks of {dry.chunk_rows}"),
        ("model", f"{dry.model} ({dry.dtype})"),
        ("output", dry.output),
        ("run_date", dry.run_date),
        ("estimate", f"{_time(dry)} ({dry.estimate_basis})"),
        *(("source", plain(note, "yellow")) for note in dry.notes),
    ]
    return panel("plan (nothing was started)", pairs)


def _shards(dry: DryRun) -> str:
    least, most = dry.smallest_shard, dry.largest_shard
    each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{dry.shards:,} of {each} records" if dry.shards else "none"


def _time(dry: DryRun) -> str:
    if dry.estimate_s is None:
        return "unknown"
    if not dry.rows:
        return "no time"
    working = figures.duration(dry.estimate_s - dry.startup_s)
    return f"about {working} plus about {figures.duration(dry.startup_s)} start-up"
