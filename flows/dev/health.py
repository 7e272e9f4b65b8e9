"""Health checks of a stack's services: one HTTP request each on loopback, with a timeout.

In: the stack's folder and state. Out: a yes or no for each service. An unexpected answer counts as no.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from flows.dev.ports import Ports
from flows.dev.processes import OwnProcess
from flows.dev.state import Place, StackState

FLOWS = ("embed", "nightly", "backfill", "compact", "dedup", "filter", "sync", "reap")
DEPLOYMENT = "dev"
_ANSWER_S = 5.0
#: The flows' process polls the server every ten seconds.
_POLLED_S = 45.0


def checks(place: Place, state: StackState) -> dict[str, Callable[[], bool]]:
    """The health check of each service, by its name."""
    secrets, ports = place.secrets(), state.ports
    user, _, password = secrets.prefect_auth.partition(":")
    login = httpx.BasicAuth(user, password)
    bearer = {"Authorization": f"Bearer {secrets.ray_token}"}
    api = f"http://127.0.0.1:{ports.prefect}/api"
    return {
        "s3": lambda: _s3_serves(ports.s3),
        "prefect": lambda: _get(f"{api}/health") == (200, True),
        "ray": lambda: _get(f"http://127.0.0.1:{ports.dashboard}/api/jobs/", headers=bearer)[0] == 200,
        "flows": lambda: _all_polled(f"{api}/deployments/name", login, state.processes.get("flows")),
    }


def jobs(place: Place, ports: Ports) -> Any:
    """What Ray lists of its jobs; None if it does not answer."""
    bearer = {"Authorization": f"Bearer {place.secrets().ray_token}"}
    return _get(f"http://127.0.0.1:{ports.dashboard}/api/jobs/", headers=bearer)[1]


def _s3_serves(port: int) -> bool:
    """Whether it refuses anonymous requests and has a volume server."""
    status, _ = _get(f"http://127.0.0.1:{port}/")
    _, topology = _get(f"http://127.0.0.1:{port + 2}/dir/status")
    return status == 403 and "DataNodes" in json.dumps(topology)


def _all_polled(url: str, login: httpx.BasicAuth, process: OwnProcess | None) -> bool:
    """Whether this process, and not the one before it, has polled for work of every deployment just now."""
    since = datetime.now(UTC) - timedelta(seconds=_POLLED_S)
    since = max(since, process.start_time) if process else since
    return all(_polled(f"{url}/{flow}/{DEPLOYMENT}", login) > since for flow in FLOWS)


def _polled(url: str, login: httpx.BasicAuth) -> datetime:
    _, deployment = _get(url, auth=login)
    polled = deployment.get("last_polled") if isinstance(deployment, dict) else None
    return datetime.fromisoformat(polled) if polled else datetime.min.replace(tzinfo=UTC)


def _get(url: str, **options: Any) -> tuple[int, Any]:
    """Status and JSON body of an answer; the body of a failure is None, and the status of no answer 0."""
    try:
        # Loopback: no proxy, and plain HTTP, so no time is spent on loading certificates.
        answer = httpx.get(url, timeout=_ANSWER_S, trust_env=False, verify=False, follow_redirects=True, **options)
        return answer.status_code, answer.json() if answer.is_success else None
    except (httpx.HTTPError, ValueError):
        return 0, None
