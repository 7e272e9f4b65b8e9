"""Writes the kept rows of a filter as a separate dataset: a snapshot that `verify` audits and `search` reads."""

from __future__ import annotations

from pipeline.curation.filter.filtering import Filtered
from pipeline.curation.filter.judge import FAILED
from pipeline.errors import UsageError
from pipeline.phases import OnPhase
from pipeline.scratch.workspace import Workspace
from pipeline.snapshot.compact import Compaction, compact
from pipeline.snapshot.plan import Selection


def write_dataset(filtered: Filtered, work: Workspace, uri: str, on_phase: OnPhase) -> Compaction:
    """Write the kept rows to `uri`, or resume that.

    Raises:
        UsageError: nothing was kept, or `uri` holds something else.
        StorageError, RunError: reading or writing failed; the same call resumes.
    """
    if not filtered.counts.kept:
        raise UsageError("The rules keep no row, and a dataset needs at least one: loosen the rules.")
    work.store("kept", f"SELECT id, source_fingerprint FROM judged WHERE {FAILED} = 0")
    only = Selection(work.path("kept.parquet"), filtered.digest)
    return compact(filtered.out, uri, on_phase, only)
