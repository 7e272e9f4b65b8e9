"""Is a service there? One question each, over HTTP on loopback, with a deadline.

In: the stack's folder and ports. Out: yes or no. A service that answers with anything but what it shall is not there.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flows.dev.ports import Ports
from flows.dev.state import Place

FLOWS = ("embed", "nightly", "backfill", "dedup", "filter", "reap")
DEPLOYMENT = "dev"
_ANSWER_S = 5.0
#: The flows' process asks the server for work every ten seconds.
_POLLED_S = 45.0
# Loopback is never reached through a proxy.
_OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def checks(place: Place, ports: Ports) -> dict[str, Callable[[], bool]]:
    """The question for each service, by its name."""
    bearer = {"Authorization": f"Bearer {place.secrets().ray_token}"}
    user = {"Authorization": f"Basic {base64.b64encode(place.secrets().prefect_auth.encode()).decode()}"}
    api = f"http://127.0.0.1:{ports.prefect}/api"
    return {
        "s3": lambda: _s3_serves(ports.s3),
        "prefect": lambda: _get(f"{api}/health") == (200, True),
        "ray": lambda: _get(f"http://127.0.0.1:{ports.dashboard}/api/jobs/", bearer)[0] == 200,
        "flows": lambda: all(_is_served(f"{api}/deployments/name/{flow}/{DEPLOYMENT}", user) for flow in FLOWS),
    }


def _s3_serves(port: int) -> bool:
    """It refuses strangers, and has a place for data."""
    status, _ = _get(f"http://127.0.0.1:{port}/")
    _, topology = _get(f"http://127.0.0.1:{port + 2}/dir/status")
    return status == 403 and "DataNodes" in json.dumps(topology)


def _is_served(url: str, user: dict[str, str]) -> bool:
    """Somebody asked for work of this deployment just now."""
    _, deployment = _get(url, user)
    polled = deployment.get("last_polled") if isinstance(deployment, dict) else None
    if polled is None:
        return False
    return (datetime.now(UTC) - datetime.fromisoformat(polled)).total_seconds() < _POLLED_S


def _get(url: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    try:
        with _OPEN(urllib.request.Request(url, headers=headers or {}), timeout=_ANSWER_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, ValueError):
        return 0, None
