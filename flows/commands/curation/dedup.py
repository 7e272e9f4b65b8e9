"""`hanclip dedup`: find the duplicates of a dataset.

In: the URI of a dataset and settings. Out: its table of duplicates; a bar on stderr, the result on stdout. For a person
who chooses the settings, the pairs around the thresholds: a table of their numbers, and a page with their pictures.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.facts.dedup import dedup_facts
from flows.terminal import figures
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.curation.dedup.parallel import serial_map
from pipeline.curation.dedup.plan import DedupPlan, plan
from pipeline.curation.dedup.run import dedup as find
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.dedup.suggest import SuggestedPair, ThresholdSuggestion, suggest


def dedup(out: str, settings: DedupSettings, address: str | None, as_json: bool) -> None:
    """Write the table of duplicates of the dataset at `out` and print the counts."""
    began_s = time.monotonic()
    with phase_bar("Reading rows", silent=as_json) as on_phase:
        if address is None:
            found = find(out, settings, serial_map, on_phase)
        else:
            from actors.jobs.blocks import on_ray  # only --address needs Ray

            with on_ray(address) as each:
                found = find(out, settings, each, on_phase)
    seconds = time.monotonic() - began_s
    if as_json:
        write_json("dedup", {**asdict(found), "seconds": round(seconds, 3)})
    else:
        title = f"complete in {figures.duration(seconds)}"
        print_table(panel(title, dedup_facts(asdict(found))))


def show_plan(out: str, settings: DedupSettings, as_json: bool) -> None:
    """Print what `dedup` would do."""
    with nullcontext() if as_json else Console(stderr=True).status(Text(f"Planning: reading the keys of {out}")):
        found = plan(out, settings)
    if as_json:
        write_json("dedup", {"dry_run": True, **asdict(found)})
    else:
        print_table(panel("plan (nothing was written)", _planned(found)))


def _planned(found: DedupPlan) -> Iterator[tuple[str, object]]:
    yield "rows", f"{found.rows:,}"
    yield "rungs", ", ".join(found.rungs)
    for vector, known in found.known.items():
        yield "known", f"{known:,} distinct vectors ({vector}) were compared by an earlier run"
    if found.pairs:
        yield "to compare", f"about {found.pairs:,} pairs of vectors"
        yield "disk", f"{units.size(found.scratch_bytes)} in the temporary folder"
    yield "table", found.uri


def show_suggestions(out: str, settings: DedupSettings, as_json: bool) -> None:
    """Print the bands of the dataset at `out` and write their page."""
    from pipeline.report.suggest_page import write_suggest_page  # needs the extra curate

    with phase_bar("Reading rows", silent=as_json) as on_phase:
        found = suggest(out, settings, on_phase)
        on_phase("Reading the pictures", 0, None)
        page = write_suggest_page(out, found)
    if as_json:
        write_json("suggest", {"out": out, "page": page, "rungs": [asdict(one) for one in found]})
        return
    console = Console(highlight=False)
    for one in found:
        console.print(plain(_heading(one), "bold"))
        print_table(_table(one), console)
    console.print(plain(f"pictures: {page}"), soft_wrap=True)


def _heading(found: ThresholdSuggestion) -> str:
    measured = "measured" if found.measured else "unmeasured for this model"
    compared = f"all pairs of {units.count(found.vectors, 'vector')}"
    if found.sampled < found.vectors:
        compared = f"estimated from {found.sampled:,} of {units.count(found.vectors, 'vector')}"
    return f"{found.option} {found.threshold:g}: {measured}; {compared}"


def _table(found: ThresholdSuggestion) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    for name in ("threshold", "pairs added", "pairs in all"):
        table.add_column(name, justify="right")
    table.add_column("for example", no_wrap=True)
    for band in found.bands:
        now = " (now)" if band.low == found.threshold else ""
        cells = (f"{band.low:.4f}{now}", f"{band.pairs:,}", f"{band.pairs_from:,}")
        table.add_row(*cells, plain(_example(band.examples)))
    return table


def _example(pairs: Sequence[SuggestedPair]) -> str:
    return f"{pairs[-1].cosine:.4f} {pairs[-1].one.id} and {pairs[-1].other.id}" if pairs else ""
