"""The flow `compact`: rewrite the small files of a dataset as full ones, in place, as a job."""

from __future__ import annotations

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.curate import carry_out
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS
from pipeline.compaction.settings import CompactSettings
from pipeline.jobs.steps import CompactStep

_DEFAULTS = CompactSettings()


@job_flow
def compact(out: str, settings: CompactSettings = _DEFAULTS, target: TargetConfig = THIS_PROCESS) -> State[None]:
    """Rewrite the small files of a dataset as full ones, in place, while others read and write it.

    Args:
        out: the dataset.
        settings: which files are rewritten, and when replaced files are deleted: the options of `hanclip compact`.
        target: where the job runs.
    """
    return carry_out(CompactStep(out=out, settings=settings), target)
