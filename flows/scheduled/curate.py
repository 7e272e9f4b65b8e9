"""What the flows over finished datasets share: a job without runs and with one step, and the steps of a night."""

from __future__ import annotations

from datetime import date

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.job import job_spec, run_job
from flows.scheduled.outcome import conclude
from flows.scheduled.pages import artifacts
from pipeline import storage
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.errors import ConfigError
from pipeline.jobs.steps import DedupStep, FilterStep, Step
from pipeline.partitions.template import fill
from pipeline.vocabulary import Form


def carry_out(step: Step, target: TargetConfig) -> State[None]:
    """A job that does `step` and nothing else."""
    if isinstance(step, FilterStep):
        step.settings.check(step.out)
    artifacts.step_table(step.kind, step)
    spec = job_spec(storage.name(step.out), step.out, (), (step,))
    return conclude(spec, run_job(spec, target), target)


def nightly_steps(out: str, day: date, dedup: DedupSettings | None, kept: FilterSettings | None) -> tuple[Step, ...]:
    """What follows the runs of a night: duplicates first, since rules may ask which row stays.

    Raises:
        ConfigError: the filter's settings do not go together, or would write to one place every night.
    """
    steps: list[Step] = [DedupStep(out=out, settings=dedup)] if dedup is not None else []
    if kept is None:
        return tuple(steps)
    kept.check(out)
    dest = kept.dest and fill(kept.dest, day)
    if kept.form != Form.IDS and dest == kept.dest:
        raise ConfigError(
            f"filter.dest {dest} would hold the {kept.form} of one night, and the next one keeps other rows: "
            "write {date} in it, as in s3://bucket/clean-{date}."
        )
    return (*steps, FilterStep(out=out, settings=kept.model_copy(update={"dest": dest})))
