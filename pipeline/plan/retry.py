"""Explains why `hanclip retry` takes no record, or fewer than expected.

In: the workspace of a retry plan, with its tables `listing` (the current source), `failed` (all quarantine rows) and
`reasons` (the requested ones). Out: sentences for the summary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.dataset.checks.held import count_held
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.workspace import Workspace


def retry_notes(work: Workspace, dataset: Dataset, reasons: Sequence[str]) -> tuple[str, ...]:
    """Sentences about reasons without quarantined records, and about records that changed since they failed."""
    return (*_without(dataset, reasons), *_changed(work, dataset))


def _without(dataset: Dataset, reasons: Sequence[str]) -> Iterator[str]:
    held = count_held(dataset.uri).quarantined
    absent = [str(reason) for reason in reasons if not held[reason]]
    if absent or not held:
        there = ", ".join(f"{reason} {count:,}" for reason, count in held.most_common())
        which = f" has reason {' or '.join(absent)}" if absent else ""
        yield f"No quarantined record{which}; there are: {there}." if held else "No record is in quarantine."


def _changed(work: Workspace, dataset: Dataset) -> Iterator[str]:
    changed = """
        SELECT id, source_fingerprint FROM listing
        SEMI JOIN (FROM failed SEMI JOIN reasons USING (reason)) AS wanted USING (id)
        ANTI JOIN failed USING (id, source_fingerprint)
    """
    if not work.rows(f"{changed} LIMIT 1"):
        return
    work.register("embedded_now", dataset.embeddings(["id", "source_fingerprint"]))
    [(count,)] = work.rows(f"SELECT count(*) FROM ({changed}) ANTI JOIN embedded_now USING (id, source_fingerprint)")
    if count:
        records, them = ("record", "it") if count == 1 else ("records", "them")
        yield f"{count:,} {records} changed since the failure: `hanclip embed` embeds {them}."
