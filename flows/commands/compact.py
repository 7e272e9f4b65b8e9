"""`hanclip compact`: compact a dataset in place, or write its latest state as a new dataset.

In: the URIs. Out: fewer files, or the snapshot; a bar on stderr, the result on stdout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from flows.facts.compact import compact_facts
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.whole import print_table
from pipeline.compaction.in_place import compact_in_place, dry_compaction
from pipeline.compaction.settings import CompactSettings
from pipeline.snapshot.compact import Compaction, compact, dry_compact


def compact_dataset(out: str, settings: CompactSettings, dry_run: bool, as_json: bool) -> None:
    """Compact the dataset at `out`, or finish an unfinished compaction; `dry_run` only shows what it would do."""
    if dry_run:
        with Console(stderr=True).status(Text(f"Planning: reading the footers of {out}")):
            ended = dry_compaction(out, settings)
    else:
        with phase_bar("Reading the footers", transient=False, silent=as_json) as on_phase:
            ended = compact_in_place(out, settings, on_phase)
    result = asdict(ended)
    _show(result, compact_facts(result), dry_run, as_json)


def write_snapshot(out: str, snapshot: str, dry_run: bool, as_json: bool) -> None:
    """Write or resume the snapshot of `out` at `snapshot`; `dry_run` only shows what it would hold."""
    if dry_run:
        with Console(stderr=True).status(Text(f"Planning: reading the keys of {out}")):
            ended = dry_compact(out, snapshot)
    else:
        with phase_bar("Reading the keys", transient=False, silent=as_json) as on_phase:
            ended = compact(out, snapshot, on_phase)
    _show({"complete": ended.complete, **asdict(ended)}, _facts(ended, dry_run), dry_run, as_json)


def _show(result: Mapping[str, object], facts: Iterable[tuple[str, object]], dry_run: bool, as_json: bool) -> None:
    """Write the result as a line of JSON, or its facts in a panel."""
    if as_json:
        write_json("compact", {"dry_run": dry_run, **result})
    else:
        title = "plan (nothing was written)" if dry_run else "complete"
        print_table(panel(title, facts))


def _facts(ended: Compaction, dry_run: bool) -> Iterator[tuple[str, object]]:
    embedded = ended.rows - ended.rows_quarantined
    yield "rows", f"{ended.rows:,} = {embedded:,} embedded + {ended.rows_quarantined:,} quarantined"
    yield "shards", f"{ended.shards:,} of about {ended.shard_rows:,} rows"
    yield "of", ended.source
    yield "snapshot", f"{ended.snapshot} (run_date={ended.run_date})"
    if not dry_run:
        yield "next", f"hanclip verify {ended.snapshot}"
