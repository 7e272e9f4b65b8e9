"""`hanclip sync`: bring a vector database to the state of a dataset, with a bar on stderr and counts on stdout."""

from __future__ import annotations

import time
from dataclasses import asdict

from flows.facts.sync import sync_facts, verified_facts
from flows.terminal import figures
from flows.terminal.bars import phase_bar
from flows.terminal.json_lines import write_json
from flows.terminal.panels import panel
from flows.terminal.whole import print_table
from pipeline.curation.sync.run import sync, verify
from pipeline.curation.sync.settings import SyncSettings


def run(out: str, settings: SyncSettings, dry_run: bool, as_json: bool) -> None:
    """Sync, and print the counts."""
    began_s = time.monotonic()
    with phase_bar("Reading keys", transient=False, silent=as_json) as on_phase:
        done = asdict(sync(out, settings, on_phase, dry_run))
    seconds = time.monotonic() - began_s
    if as_json:
        write_json("sync", {"dry_run": dry_run, **done, "seconds": round(seconds, 3)})
    else:
        title = "plan (nothing was written)" if dry_run else f"complete in {figures.duration(seconds)}"
        print_table(panel(title, sync_facts(done)))


def show_verified(out: str, settings: SyncSettings, sample: int | None, as_json: bool) -> int:
    """Compare, and print what differs; returns 0 if nothing does, else 1."""
    with phase_bar("Reading keys", transient=False, silent=as_json) as on_phase:
        found = verify(out, settings, on_phase, sample)
    if as_json:
        write_json("verify", {"agrees": found.agrees, **asdict(found)})
    else:
        title = "the database agrees" if found.agrees else "the database DIFFERS"
        print_table(panel(title, verified_facts(asdict(found))))
    return 0 if found.agrees else 1
