"""Jobs of one step over a finished dataset, and the steps that follow a nightly job's runs."""

from __future__ import annotations

from datetime import date

from prefect.client.schemas.objects import State

from flows.jobs.target import TargetConfig
from flows.scheduled.job import job_spec, run_job
from flows.scheduled.outcome import conclude
from pipeline import storage
from pipeline.compaction.settings import CompactSettings
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.sync.settings import SyncSettings
from pipeline.errors import ConfigError
from pipeline.jobs.night import check_absolute
from pipeline.jobs.steps import CompactStep, DedupStep, FilterStep, Step, SyncStep
from pipeline.partitions.template import fill
from pipeline.vocabulary import Form


def carry_out(step: Step, target: TargetConfig) -> State[None]:
    """Run `step` as a job of its own."""
    check_absolute(step.out, "out")
    _require_whole_paths(step.settings, "settings")
    if isinstance(step, (FilterStep, SyncStep)):
        step.settings.check(step.out)
    spec = job_spec(storage.name(step.out), step.out, (), (step,))
    return conclude(spec, run_job(spec, target), target)


def nightly_steps(
    out: str,
    day: date,
    compact: CompactSettings | None,
    dedup: DedupSettings | None,
    kept: FilterSettings | None,
    synced: SyncSettings | None = None,
) -> tuple[Step, ...]:
    """The steps after the runs: full files first, then duplicates, because the conditions after them may name these.

    Raises:
        ConfigError: the filter's settings conflict, a path is relative, or every night would write to the same place.
    """
    if dedup is not None:
        _require_whole_paths(dedup, "dedup")
    steps: list[Step] = [CompactStep(out=out, settings=compact)] if compact is not None else []
    steps += [DedupStep(out=out, settings=dedup)] if dedup is not None else []
    steps += [_filter_step(out, day, kept)] if kept is not None else []
    if synced is not None:
        synced.check(out)
        _require_whole_paths(synced, "sync")
        steps.append(SyncStep(out=out, settings=synced))
    return tuple(steps)


def _filter_step(out: str, day: date, kept: FilterSettings) -> FilterStep:
    kept.check(out)
    _require_whole_paths(kept, "filter")
    dest = kept.dest and fill(kept.dest, day)
    if kept.form != Form.IDS and dest == kept.dest:
        raise ConfigError(
            f"filter.dest {dest} would be written anew every night with other rows: put {{date}} into it, as in "
            "s3://bucket/clean-{date}."
        )
    return FilterStep(out=out, settings=kept.model_copy(update={"dest": dest}))


def _require_whole_paths(settings: CompactSettings | DedupSettings | FilterSettings | SyncSettings, name: str) -> None:
    """Raise ConfigError if one of the settings, which are the parameter `name`, is a relative path."""
    paths: dict[str, tuple[str | None, ...]] = {}
    if isinstance(settings, FilterSettings):
        paths = {"dest": (settings.dest,), "ids": (settings.ids,)}
    elif isinstance(settings, SyncSettings):
        paths = {"dest": (settings.dest,)}
    elif isinstance(settings, DedupSettings):
        paths = {"against": settings.against, "not_duplicates": (settings.not_duplicates,)}
    for field, uris in paths.items():
        for uri in filter(None, uris):
            check_absolute(uri, f"{name}.{field}")
