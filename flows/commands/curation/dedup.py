"""`hanclip dedup`: find the duplicates of a dataset.

In: the URI of a dataset and settings. Out: its table of duplicates; a bar on stderr, the result on stdout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from flows.facts.dedup import dedup_facts
from flows.terminal import figures
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from pipeline import units
from pipeline.curation.dedup.parallel import serial_map
from pipeline.curation.dedup.plan import DedupPlan, plan
from pipeline.curation.dedup.run import dedup as find
from pipeline.curation.dedup.settings import DedupSettings


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
        Console(highlight=False).print(panel(title, dedup_facts(asdict(found))))


def show_plan(out: str, settings: DedupSettings, as_json: bool) -> None:
    """Print what `dedup` would do."""
    with nullcontext() if as_json else Console(stderr=True).status(Text(f"Planning: reading the keys of {out}")):
        found = plan(out, settings)
    if as_json:
        write_json("dedup", {"dry_run": True, **asdict(found)})
    else:
        Console(highlight=False).print(panel("plan (nothing was written)", _planned(found)))


def _planned(found: DedupPlan) -> Iterator[tuple[str, object]]:
    yield "rows", f"{found.rows:,}"
    yield "rungs", ", ".join(found.rungs)
    for vector, known in found.known.items():
        yield "known", f"{known:,} distinct vectors ({vector}) were compared by an earlier run"
    if found.pairs:
        yield "to compare", f"about {found.pairs:,} pairs of vectors"
        yield "disk", f"{units.size(found.scratch_bytes)} in the temporary folder"
    yield "table", found.uri
