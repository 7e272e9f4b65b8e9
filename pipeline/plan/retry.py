"""What a person should know about the records that `hanclip retry` does not take: why there are none, or fewer.

In: the workspace of a retry plan, with its tables `listing` (the source now), `failed` (all quarantine rows) and
`reasons` (those asked for). Out: sentences for the summary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.dataset.checks.status import status
from pipeline.dataset.dataset import Dataset
from pipeline.scratch.workspace import Workspace


def retry_notes(work: Workspace, dataset: Dataset, reasons: Sequence[str]) -> tuple[str, ...]:
    """Sentences on reasons that nothing is quarantined for, and on records that changed since they failed."""
    return (*_without(dataset, reasons), *_changed(work, dataset))


def _without(dataset: Dataset, reasons: Sequence[str]) -> Iterator[str]:
    held = status(dataset.uri, reports=False).quarantined
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
        yield f"{count:,} {records} changed since: `hanclip embed` takes {them}."
