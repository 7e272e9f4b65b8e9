"""Checks of single links: storage, the Prefect server and its worker, the Ray cluster.

In: an `Installation`. Out: one sentence about what was found. A broken link is a `HanclipError` with its cure.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.jobs.http_call import Http
from flows.jobs.ray_api.token import CURE, TokenAccess
from flows.smoke.installation import Installation
from pipeline import storage, units
from pipeline.errors import ConfigError, RunError

_CONTENT = b"written by the smoke test\n"
_ONLINE = "ONLINE"
_MOST_DETAIL = 300


def check_storage(installation: Installation) -> str:
    """Write, list, read and delete a file next to the dataset."""
    uri = storage.join(installation.folder, "probe.txt")
    storage.overwrite(uri, _CONTENT)
    if [info.uri for info in storage.list_objects(installation.folder)] != [uri]:
        raise RunError(f"{uri} was written and is not listed. Check that the credentials allow listing.")
    if storage.read_bytes(uri) != _CONTENT:
        raise RunError(f"{uri} has other content than was written. Check what else writes there.")
    storage.delete(uri)
    return f"{storage.parent(installation.folder)} can be written, listed, read and deleted"


def check_prefect(installation: Installation) -> str:
    """Find the deployment on the server, and a live worker of its work pool."""
    with _server() as client:
        try:
            deployment = client.read_deployment_by_name(installation.deployment)
        except ObjectNotFound as error:
            raise ConfigError(f"There is no deployment {installation.deployment}. Run infra/prefect/deploy.") from error
        if deployment.paused:
            raise ConfigError(
                f"{installation.deployment} is paused. Resume it: prefect deployment resume {installation.deployment}"
            )
        found = [f"Prefect {client.api_version()} has {installation.deployment}"]
        if deployment.work_pool_name:
            found.append(_check_pool(client, deployment.work_pool_name))
    return ", ".join(found)


def check_ray(installation: Installation) -> str:
    """Ask the dashboard for Ray's version and for the nodes."""
    unreachable = "Check HANCLIP_RAY_ADDRESS, that the head runs, and network policies between it and the runner."
    http = Http(installation.ray_address, TokenAccess(), unreachable, CURE)
    version = http.request("GET", "/api/version").require("ask for the version").json()["ray_version"]
    nodes = http.request("GET", "/nodes", view="summary").require("list the nodes").json()["data"]["summary"]
    alive = [node["raylet"] for node in nodes if node["raylet"].get("state") == "ALIVE"]
    total: dict[str, float] = {}
    for raylet in alive:
        for name, amount in raylet.get("resourcesTotal", {}).items():
            total[name] = total.get(name, 0.0) + amount
    nodes_alive = units.count(len(alive), "live node")
    if not total.get("CPU"):
        raise RunError(
            f"Ray {version} has {nodes_alive} and no CPUs for actors: start workers, or see why they do not join"
            " (token, version, address of the head)."
        )
    return f"Ray {version} has {nodes_alive} with {total['CPU']:g} CPU and {total.get('GPU', 0):g} GPU"


def _check_pool(client: SyncPrefectClient, name: str) -> str:
    pool = client.read_work_pool(name)
    if pool.is_paused:
        raise ConfigError(f"The work pool {name} is paused. Resume it: prefect work-pool resume {name}")
    online = [worker.name for worker in client.read_workers_for_work_pool(name) if worker.status == _ONLINE]
    if not online:
        raise RunError(f"The work pool {name} has no live worker. Start the runner, or see why it does not poll.")
    return f"{units.count(len(online), 'live worker')} of the work pool {name}"


@contextmanager
def _server() -> Iterator[Any]:
    with answers(), get_client(sync_client=True) as client:
        yield client


@contextmanager
def answers() -> Iterator[None]:
    """Give failures of the Prefect server a cure."""
    try:
        yield
    except PrefectHTTPStatusError as error:
        if error.response.status_code in (401, 403):
            raise ConfigError("The Prefect server refuses the credentials. Check PREFECT_API_AUTH_STRING.") from error
        status, detail = error.response.status_code, error.response.text[:_MOST_DETAIL]
        raise RunError(f"The Prefect server answered {status}: {detail}. See its log.") from error
    except httpx.HTTPError as error:
        raise RunError(
            f"The Prefect server does not answer ({type(error).__name__}). Check PREFECT_API_URL and that it runs."
        ) from error
