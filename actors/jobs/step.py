"""One step of a job: what a command does with a finished dataset, on the Ray that the job is on.

In: a step of `job.json`. Out: what the step leaves in the dataset, and its `StepOutcome`. A step reads what runs have
committed and writes tables of its own, so whatever becomes of it, no embedding changes.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from actors.session import Session
from pipeline.curation.dedup.pairs.neighbours import Each, here
from pipeline.errors import HanclipError
from pipeline.jobs.folder import StepOutcome
from pipeline.jobs.steps import DedupStep, FilterStep, Step
from pipeline.phases import OnPhase

logger = logging.getLogger(__name__)


def carry_out(step: Step, session: Session, on_phase: OnPhase) -> StepOutcome:
    """Do `step`; an error that is meant for people is its outcome."""
    began_s = time.monotonic()
    try:
        message, found = _dedup(step, session, on_phase) if isinstance(step, DedupStep) else _filter(step, on_phase)
    except HanclipError as error:
        logger.warning("%s: failed: %s", step.kind, error)
        return StepOutcome(step.kind, "failed", str(error), time.monotonic() - began_s)
    logger.info("%s: %s", step.kind, message)
    plain = json.loads(json.dumps(found))  # as whoever reads the summary will have it
    return StepOutcome(step.kind, "complete", message, time.monotonic() - began_s, plain)


def _dedup(step: DedupStep, session: Session, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    from pipeline.curation.dedup.run import dedup

    with _blocks(session) as each:
        found = dedup(step.out, step.settings, each, on_phase)
    return f"{found.rows:,} rows = {found.kept:,} kept + {found.dropped:,} dropped", asdict(found)


def _filter(step: FilterStep, on_phase: OnPhase) -> tuple[str, dict[str, Any]]:
    from pipeline.curation.filter.run import filter_rows

    done = filter_rows(step.out, step.settings, on_phase)
    counts, failed = done.filtered.counts, done.written.get("failed", 0)
    lost = f"; {failed:,} of the kept are in no tar, as their images could not be had" if failed else ""
    return f"{counts.rows:,} rows = {counts.kept:,} kept + {counts.dropped:,} dropped{lost}", done.to_json()


@contextmanager
def _blocks(session: Session) -> Iterator[Each]:
    """Where vectors are compared: on the session's Ray, if it has joined or started one, else in this process."""
    if not session.vacate():
        yield here
        return
    from actors.jobs.blocks import on_ray

    with on_ray(None) as each:
        yield each
