"""Schedules the flow `nightly` on the Prefect server of a stack.

In: a configuration, a cron line, its time zone. Out: a schedule whose runs get the configuration and the time zone as
parameters, which `prefect deployment schedule create` cannot set. There is one schedule for each output: the same
output again updates it in one request, so that an error leaves either the old schedule or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from flows.dev.health import DEPLOYMENT
from flows.dev.state import Place, usable
from flows.options.absolute import absolute
from flows.options.timezones import zone
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, RunError
from pipeline.jobs.night import check, nightly_runs

_ANSWER_S = 30.0
_MOST_DETAIL = 300


def schedule(folder: Path, config: RunConfig, cron: str, timezone: str) -> list[datetime]:
    """Run `nightly` with `config` on the schedule `cron`; returns its next three times.

    Raises:
        ConfigError: the configuration, the cron line or the time zone is wrong.
        RunError: the stack does not answer, or its folder cannot be read. The schedule is the old or the new one.
    """
    # Keeps Prefect, which takes seconds to import, out of `hanclip dev up`.
    from flows.deployments.times import next_times

    # Fail now rather than at night.
    config = absolute(config)
    nightly_runs(check(config), datetime.now(UTC).date(), 0)
    times = next_times(cron, zone(timezone))
    with usable(folder), _client(folder) as client, _answers(folder):
        _put(client, _wanted(config, cron, timezone))
    return times


def _wanted(config: RunConfig, cron: str, timezone: str) -> dict[str, Any]:
    digest = hashlib.sha256(config.output.uri.encode()).hexdigest()[:12]
    return {
        # Unique on the server, so two commands at once cannot make two schedules.
        "slug": f"night-{digest}",
        "schedule": {"cron": cron, "timezone": timezone},
        "active": True,
        "parameters": {"config": config.model_dump(mode="json"), "timezone": timezone},
    }


def _put(client: httpx.Client, wanted: dict[str, Any]) -> None:
    deployment = client.get(f"/deployments/name/nightly/{DEPLOYMENT}").raise_for_status().json()
    schedules = f"/deployments/{deployment['id']}/schedules"
    held = [one for one in deployment["schedules"] if _same_output(one, wanted)]
    # First, and the update last: an error in between leaves one schedule.
    for extra in held[1:]:
        client.delete(f"{schedules}/{extra['id']}").raise_for_status()
    if held:
        client.patch(f"{schedules}/{held[0]['id']}", json=wanted).raise_for_status()
    else:
        client.post(schedules, json=[wanted]).raise_for_status()


def _same_output(held: dict[str, Any], wanted: dict[str, Any]) -> bool:
    # Prefect empties the parameters of a schedule that is paused; the slug stays.
    out = held["parameters"].get("config", {}).get("output", {}).get("uri")
    return bool(held["slug"] == wanted["slug"] or out == wanted["parameters"]["config"]["output"]["uri"])


def _client(folder: Path) -> httpx.Client:
    place = Place.find(folder)
    state = place.load()
    if state is None:
        raise RunError(f"There is no stack in {folder}. Start it: hanclip dev up")
    api = f"http://127.0.0.1:{state.ports.prefect}/api"
    user, _, password = place.secrets().prefect_auth.partition(":")
    return httpx.Client(base_url=api, auth=(user, password), timeout=_ANSWER_S, trust_env=False)


@contextmanager
def _answers(folder: Path) -> Iterator[None]:
    """Turn a refusal and a missing answer into errors with a cure."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status, detail = error.response.status_code, error.response.text[:_MOST_DETAIL]
        if status == 422:
            raise ConfigError(f"The Prefect server refuses this schedule: {detail}") from error
        raise RunError(
            f"The Prefect server of {folder} answered {status}: {detail}\nThe schedule is as before, or the new one; "
            "there are never two. Run the same command again."
        ) from error
    except httpx.HTTPError as error:
        raise RunError(f"The Prefect server of {folder} does not answer: {error}. Start it: hanclip dev up") from error
