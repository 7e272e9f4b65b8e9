"""Carries out one step of a job, such as deduplication, on the job's Ray.

In: a step of `job.json`. Out: tables in the dataset, or fewer files, and a `StepOutcome`. A step reads committed shards
and writes tables of its own, or files with the same rows, so even a failed step changes no embedding.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from actors.jobs.blocks import on_ray
from actors.session import Session
from pipeline.compaction.in_place import compact_in_place
from pipeline.curation.dedup.parallel import ParallelMap, serial_map
from pipeline.errors import HanclipError
from pipeline.faults import translated
from pipeline.jobs.job import StepOutcome
from pipeline.jobs.steps import CompactStep, DedupStep, FilterStep, Step, SyncStep
from pipeline.phases import OnPhase

logger = logging.getLogger(__name__)


def carry_out(step: Step, session: Session, on_phase: OnPhase) -> StepOutcome:
    """Carry out `step`; a `HanclipError` becomes its outcome."""
    began_s = time.monotonic()
    try:
        with translated():
            message, found = _carried_out(step, session, on_phase)
    except HanclipError as error:
        logger.warning("%s: failed: %s", step.kind, error)
        return StepOutcome(step.kind, "failed", str(error), time.monotonic() - began_s)
    logger.info("%s: %s", step.kind, message)
    plain = json.loads(json.dumps(found))  # the same values as read back from the summary
    return StepOutcome(step.kind, "complete", message, time.monotonic() - began_s, plain)


def _carried_out(step: Step, session: Session, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    if isinstance(step, CompactStep):
        return _compact(step, on_phase)
    if isinstance(step, SyncStep):
        return _sync(step, on_phase)
    return _dedup(step, session, on_phase) if isinstance(step, DedupStep) else _filter(step, on_phase)


def _compact(step: CompactStep, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    done = compact_in_place(step.out, step.settings, on_phase)
    return f"{done.files:,} files -> {done.files_after:,}", asdict(done)


def _dedup(step: DedupStep, session: Session, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    from pipeline.curation.dedup.run import dedup  # only jobs with this step need it

    with _blocks(session) as each:
        found = dedup(step.out, step.settings, each, on_phase)
    return f"{found.rows:,} rows = {found.kept:,} kept + {found.dropped:,} dropped", asdict(found)


def _filter(step: FilterStep, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    from pipeline.curation.filter.run import filter_rows  # only jobs with this step need it

    done = filter_rows(step.out, step.settings, on_phase)
    counts, failed = done.filtered.counts, done.written.get("failed", 0)
    lost = f"; {failed:,} of the kept are in no tar, because their images could not be read" if failed else ""
    return f"{counts.rows:,} rows = {counts.kept:,} kept + {counts.dropped:,} dropped{lost}", done.to_json()


def _sync(step: SyncStep, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    from pipeline.curation.sync.run import sync  # only jobs with this step need it

    done = sync(step.out, step.settings, on_phase)
    return f"{done.inserted:,} inserted, {done.replaced:,} replaced, {done.deleted:,} deleted", asdict(done)


@contextmanager
def _blocks(session: Session) -> Iterator[ParallelMap]:
    """Compare vectors on the session's Ray if it is connected to one, else in this process."""
    if not session.release_embedders():
        yield serial_map
        return
    with on_ray(None) as each:
        yield each
