"""Reads the deployments of a prefect.yaml.

In: the file and the environment, which fills in `{{ $NAME }}`. Out: deployments. The file is one that `prefect deploy`
accepts as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.schedules import Schedule
from prefect.utilities.templating import apply_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from flows.deployments.deployment import KeepingDeployment
from pipeline.credentials import refuse_credentials_in
from pipeline.errors import ConfigError
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
        ConfigError: there are none, an entry has a key that is unknown or missing, or names a flow or a time that is
            none.
    """
    tree: Any = read_yaml(path, "Give a file of deployments.").tree
    if not isinstance(tree, dict) or not isinstance(tree.get("deployments"), list):
        raise ConfigError(f"{path} has no list of deployments: write one, as in infra/prefect/prefect.yaml.")
    entries: Any = apply_values(tree["deployments"], dict(environment), remove_notset=False)
    return [_deployment(validated(_Entry, entry, place), place) for place, entry in _places(path, entries)]


def _places(path: Path, entries: list[Any]) -> Iterator[tuple[str, Any]]:
    """What messages call each entry: all of hanclip's have the same name, so the flow tells them apart."""
    for number, entry in enumerate(entries, 1):
        known = isinstance(entry, dict) and f"{str(entry.get('entrypoint')).rpartition('.')[2]}/{entry.get('name')}"
        yield f"{path}: deployment {known or number}", entry


def _deployment(entry: _Entry, place: str) -> KeepingDeployment:
    flow = _flow(entry.entrypoint, place)
    try:
        return _made(entry, flow)
    except ValueError as error:  # Prefect checks the times of schedules, the limit and more
        wrong = error.errors(include_input=False)[0]["msg"] if isinstance(error, ValidationError) else error
        raise ConfigError(f"{place}: {wrong}. Correct it.") from error


def _flow(entrypoint: str, place: str) -> Flow[..., Any]:
    module, _, name = entrypoint.rpartition(".")
    cure = "Write MODULE.FUNCTION, such as flows.scheduled.embed.embed."
    try:
        found = getattr(import_module(module), name)
    except (AttributeError, ImportError, ValueError) as error:
        raise ConfigError(f"{place}: there is no flow {entrypoint}: {error}. {cure}") from error
    if not isinstance(found, Flow):
        raise ConfigError(f"{place}: {entrypoint} is no flow. {cure}")
    return found


def _made(entry: _Entry, flow: Flow[..., Any]) -> KeepingDeployment:
    limit = entry.concurrency_limit
    return KeepingDeployment.of(
        flow,
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
