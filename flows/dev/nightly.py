"""Schedules the flow `nightly` on the Prefect server of a stack.

In: a configuration, a cron line, its time zone. Out: a schedule whose runs get the configuration and the time zone as
parameters, which `prefect deployment schedule create` cannot set. It replaces a schedule of the same output.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from flows.dev.health import DEPLOYMENT
from flows.dev.state import Place
from flows.options.absolute import absolute
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, RunError
from pipeline.jobs.night import check, nightly_runs

_ANSWER_S = 30.0


def schedule(folder: Path, config: RunConfig, cron: str, timezone: str) -> None:
    """Run `nightly` with `config` on the schedule `cron`.

    Raises:
        ConfigError: the flow refuses the configuration, or the server the cron line or the time zone.
        RunError: the stack does not answer.
    """
    # Fail now rather than at night.
    config = absolute(config)
    nightly_runs(check(config), datetime.now(UTC).date(), 0)
    parameters = {"config": config.model_dump(mode="json"), "timezone": timezone}
    wanted = {"schedule": {"cron": cron, "timezone": timezone}, "active": True, "parameters": parameters}
    try:
        with _client(folder) as client:
            _replace(client, wanted)
    except httpx.HTTPStatusError as error:
        raise ConfigError(f"The Prefect server refuses this schedule: {error.response.text}") from error
    except httpx.HTTPError as error:
        raise RunError(f"The Prefect server of {folder} does not answer: {error}. Start it: hanclip dev up") from error


def _client(folder: Path) -> httpx.Client:
    place = Place.at(folder)
    state = place.load()
    if state is None:
        raise RunError(f"There is no stack in {folder}. Start it: hanclip dev up")
    api = f"http://127.0.0.1:{state.ports.prefect}/api"
    user, _, password = place.secrets().prefect_auth.partition(":")
    return httpx.Client(base_url=api, auth=(user, password), timeout=_ANSWER_S, trust_env=False)


def _replace(client: httpx.Client, wanted: dict[str, Any]) -> None:
    deployment = client.get(f"/deployments/name/nightly/{DEPLOYMENT}").raise_for_status().json()
    schedules = f"/deployments/{deployment['id']}/schedules"
    out = wanted["parameters"]["config"]["output"]["uri"]
    client.post(schedules, json=[wanted]).raise_for_status()
    for old in deployment["schedules"]:
        if old["parameters"].get("config", {}).get("output", {}).get("uri") == out:
            client.delete(f"{schedules}/{old['id']}").raise_for_status()
