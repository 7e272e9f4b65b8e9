"""Derives the runs of a nightly job from a configuration and a day."""

from __future__ import annotations

from datetime import date

from pipeline.config import RunConfig
from pipeline.errors import ConfigError
from pipeline.jobs.job import JobRun
from pipeline.partitions.dates import latest
from pipeline.partitions.template import fill, partitions


def nightly_runs(config: RunConfig, day: date, lookback_days: int) -> tuple[JobRun, ...]:
    """A run for each date of the window up to `day`, oldest first, if the source's URIs contain `{date}`; else one run.

    A run over a finished date lists its objects and reads none, so the window is cheap and makes up for missed nights.
    A source without `{date}` is listed as a whole, and new or changed records are embedded.

    Raises:
        ConfigError: only some of the URIs contain `{date}`, or `whole_catalog` is set for dated URIs.
    """
    dated = [fill(uri, day) != uri for uri in config.source.uris]
    if any(dated):
        if config.source.whole_catalog:
            raise ConfigError(
                "source.whole_catalog cannot be used with {date} in source.uris: each date would mark the ids of the "
                "others as gone. Remove one of them."
            )
        days = latest(lookback_days + 1, day)
        return tuple(JobRun(part.key, part.config, config.source.uris) for part in partitions(config, days))
    output = config.output.model_copy(update={"run_date": day})
    return (JobRun("", config.model_copy(update={"output": output})),)


def check(config: RunConfig) -> RunConfig:
    """`config`, if it names a source and an output by whole paths; a form in Prefect cannot require that.

    Raises:
        ConfigError: one of them is missing, or a relative path.
    """
    if not config.source.uris:
        raise ConfigError("config.source.uris is empty: name at least one folder, tar, table or pattern.")
    if not config.output.uri:
        raise ConfigError("config.output.uri is empty: name the folder of the output dataset.")
    for uri in config.source.uris:
        check_absolute(uri, "config.source.uris")
    check_absolute(config.source.inventory or "/", "config.source.inventory")
    check_absolute(config.output.uri, "config.output.uri")
    return config


def check_absolute(uri: str, name: str) -> None:
    """Raise ConfigError for a relative path in the parameter `name`: it would depend on where its process runs."""
    if "://" not in uri and "::" not in uri and not uri.startswith("/"):
        raise ConfigError(
            f"{name} has the relative path {uri}, which means another folder in the process of a flow: write the whole "
            "path. `hanclip embed ... --print-config --json` does that."
        )
