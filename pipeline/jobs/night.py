"""Which runs a night is made of. Pure: a configuration and a day in, the runs of one job out."""

from __future__ import annotations

from datetime import date

from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.jobs.job import JobRun
from pipeline.partitions.dates import latest
from pipeline.partitions.template import fill, partitions


def nightly_runs(config: RunConfig, day: date, lookback_days: int) -> tuple[JobRun, ...]:
    """Every date of the window up to `day`, oldest first, if the source's addresses hold `{date}`; else one run.

    A run over a date that has been done lists its objects and reads none, so the window costs little and heals nights
    that were missed. A source without `{date}` is listed whole; what it holds that is new or changed is embedded.

    Raises:
        ConfigError: some addresses hold `{date}` and others do not, or a date would pass for the whole catalog.
    """
    dated = [fill(uri, day) != uri for uri in config.source.uris]
    if any(dated):
        if config.source.whole_catalog:
            raise ConfigError(
                "source.whole_catalog does not fit addresses with {date}: each date would call the others' ids gone."
            )
        days = latest(lookback_days + 1, day)
        return tuple(JobRun(part.key, part.config) for part in partitions(config, days))
    output = config.output.model_copy(update={"run_date": day})
    return (JobRun("", config.model_copy(update={"output": output})),)


def check(config: RunConfig) -> RunConfig:
    """`config` when it names a source and an output: what a form cannot ask for.

    Raises:
        ConfigError: it does not.
    """
    if not config.source.uris:
        raise ConfigError("config.source.uris is empty: name at least one folder, tar, table or pattern.")
    if not config.output.uri:
        raise ConfigError("config.output.uri is empty: name the folder of the output dataset.")
    return config
