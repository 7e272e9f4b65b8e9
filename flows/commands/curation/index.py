"""`hanclip index`: build an index and print its recall, or measure an existing one.

In: a dataset. Out: `OUT/_index/`, and its facts on stdout; the progress on stderr.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from flows.terminal import figures
from flows.terminal.bars import phase_spinner
from flows.terminal.json_lines import write_json
from flows.terminal.panels import facts as panel
from flows.terminal.whole import print_table
from pipeline import units
from pipeline.curation.search.sides import SEARCHED, side_of
from pipeline.dataset.dataset import Dataset

if TYPE_CHECKING:
    from pipeline.curation.search.index.files import IndexFacts
    from pipeline.vocabulary import IndexKind, Side


def show_index(out: str, kind: IndexKind, searched: Side | None, as_json: bool) -> None:
    """Build an index of the dataset at `out`."""
    from pipeline.curation.search.index.build import NEAREST, build  # needs the extra curate

    side = side_of(Dataset.open(out), searched)

    with phase_spinner("Indexing") as on_phase:
        facts = build(out, kind, SEARCHED[side], on_phase)
    if as_json:
        write_json("index", {"out": out, **facts.model_dump()})
        return
    pairs = [
        ("index", f"{facts.kind} of {facts.rows:,} {side}, {units.size(facts.size_bytes)}"),
        ("finds", f"{_percent(facts.recall)} of the true {NEAREST} nearest" + _effort(facts)),
    ]
    _print_facts(pairs)


def _effort(facts: IndexFacts) -> str:
    efforts = {
        "ivf": f", searching {facts.effort} of {facts.lists} lists",
        "hnsw": f", keeping {facts.effort} candidates",
    }
    return str(efforts.get(facts.kind, ""))


def show_check(out: str, searched: Side | None, as_json: bool) -> None:
    """Measure the index of the dataset at `out`."""
    # They need the extra curate.
    from pipeline.curation.search.index.build import NEAREST
    from pipeline.curation.search.index.check import check

    with Console(stderr=True).status("Comparing the index with every row"):
        found = check(out, SEARCHED[side_of(Dataset.open(out), searched)])
    if as_json:
        write_json("check", {"out": out, **asdict(found), "facts": found.facts.model_dump()})
        return
    later = found.rows - found.by_index
    covers = f"{found.by_index:,} of {found.rows:,} rows" + (f"; the other {later:,} are compared" if later else "")
    _print_facts(
        [
            ("index", f"{found.facts.kind}{_effort(found.facts)}"),
            ("covers", covers),
            ("recall", f"{_percent(found.recall)} of the true {NEAREST} nearest of {found.queries} queries"),
            ("time", f"{figures.duration(found.index_s)} with it, {figures.duration(found.exact_s)} without"),
        ]
    )


def _print_facts(pairs: Sequence[tuple[str, object]]) -> None:
    print_table(panel(pairs))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
