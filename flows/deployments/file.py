"""Reads the deployments of a prefect.yaml.

In: the file and the environment, which fills in `{{ $NAME }}`. Out: deployments. The file is one that `prefect deploy`
accepts as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.schedules import Schedule
from prefect.utilities.templating import apply_values
from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.deployments.deployment import KeepingDeployment
from pipeline.credentials import refuse_credentials_in
from pipeline.validation import validated
from pipeline.yaml_text import read_yaml


class _Section(BaseModel):
    # Errors leave inputs out, since a refused URL may carry a password.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("parameters", check_fields=False)
    @classmethod
    def _no_credentials(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        """The server stores parameters and shows them to everybody; the flow would refuse them only then."""
        refuse_credentials_in(parameters)
        return parameters


class _Pool(_Section):
    name: str
    job_variables: dict[str, Any] = Field(default_factory=dict)


class _Times(_Section):
    # Required: a deploy recognizes a schedule by it.
    slug: str
    cron: str | None = None
    interval: float | None = None
    rrule: str | None = None
    timezone: str | None = None
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)


class _Entry(_Section):
    name: str
    entrypoint: str
    work_pool: _Pool
    description: str | None = None
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    concurrency_limit: dict[str, Any] | int | None = None
    schedules: tuple[_Times, ...] = ()


def read(path: Path, environment: Mapping[str, str]) -> list[KeepingDeployment]:
    """The deployments of the file.

    Raises:
        ConfigError: an entry has a key that is unknown or missing.
    """
    tree: Any = read_yaml(path, "Give a file of deployments.").tree
    entries: Any = apply_values(tree["deployments"], dict(environment), remove_notset=False)
    return [_deployment(validated(_Entry, entry, f"{path}: deployment {entry.get('name')}")) for entry in entries]


def _deployment(entry: _Entry) -> KeepingDeployment:
    module, _, name = entry.entrypoint.rpartition(".")
    limit = entry.concurrency_limit
    return KeepingDeployment.of(
        getattr(import_module(module), name),
        entry.name,
        schedules=[_schedule(one) for one in entry.schedules],
        concurrency_limit=ConcurrencyLimitConfig.model_validate(limit) if isinstance(limit, dict) else limit,
        parameters=entry.parameters,
        description=entry.description,
        tags=list(entry.tags),
        work_pool_name=entry.work_pool.name,
        job_variables=entry.work_pool.job_variables,
    )


def _schedule(times: _Times) -> Schedule:
    return Schedule(
        cron=times.cron,
        interval=None if times.interval is None else timedelta(seconds=times.interval),
        rrule=times.rrule,
        timezone=times.timezone,
        active=times.active,
        parameters=times.parameters,
        slug=times.slug,
    )
