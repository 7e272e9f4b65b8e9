"""The flow `embed`: one run, as a job."""

from __future__ import annotations

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from flows.facts.dry_run import dry_run_ended, dry_run_facts
from flows.jobs.target import TargetConfig
from flows.scheduled.hooks import job_flow
from flows.scheduled.job import THIS_PROCESS, job_spec, run_job
from flows.scheduled.outcome import conclude, end, started
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.cost.prices import PriceTable
from pipeline.jobs.job import JobRun
from pipeline.jobs.night import check


@job_flow
def embed(
    config: RunConfig, target: TargetConfig = THIS_PROCESS, dry_run: bool = False, prices: PriceTable | None = None
) -> State[None]:
    """Embed the records of the source that the output does not have yet.

    Args:
        config: what to read, which model, and where to write: the same tree as `hanclip embed --print-config` shows.
        target: where the job runs.
        dry_run: plan here, show what there is to do, and start no job.
        prices: with a dry run, show what it would cost.
    """
    runs = (JobRun("", check(config)),)
    if dry_run:
        return _plan_only(config, prices)
    spec = job_spec(storage.name(config.output.uri), config.output.uri, runs)
    return conclude(spec, run_job(spec, target), target)


def _plan_only(config: RunConfig, prices: PriceTable | None) -> State[None]:
    # keeps flows light: planning reads models and sources
    from actors.dry_run import dry_run

    here = config.cluster.model_copy(update={"address": None})
    dry = dry_run(config.model_copy(update={"cluster": here}), prices)
    return end(dry_run_ended(started("embed", flow_run.parameters), dry), dry_run_facts(dry))
