"""`hanclip report`: write a page about a dataset.

In: a dataset. Out: the page; its path and size on stdout, the progress on stderr.
"""

from __future__ import annotations

from dataclasses import asdict

from flows.terminal.bars import phase_spinner
from flows.terminal.json_lines import write_json
from flows.terminal.panels import facts
from flows.terminal.whole import print_table
from pipeline import units


def show(out: str, to: str, model: str | None, drops: int, as_json: bool) -> None:
    """Write the report of the dataset at `out` to `to`."""
    from pipeline.report.write import write_report  # needs the extra curate

    with phase_spinner("Reporting") as on_phase:
        written = write_report(out, to, model, drops, on_phase)
    if as_json:
        write_json("report", asdict(written))
        return
    gaps = f", {written.gaps:,} of them gaps: the page gives the reasons" if written.gaps else ""
    pairs = [
        ("report", f"{written.uri} ({units.size(written.size_bytes)}); open it in a browser"),
        ("shows", f"{units.count(written.rows, 'row')}, {units.count(written.pictures, 'picture')}{gaps}"),
    ]
    if written.duplicate_pages:
        size = units.size(written.duplicate_bytes)
        pairs.append(("duplicates", f"{units.count(written.duplicate_pages, 'page')} next to it ({size})"))
    print_table(facts(pairs))
