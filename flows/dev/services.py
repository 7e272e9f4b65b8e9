"""The four services of a stack: their command lines, web pages and environment.

In: the stack's folder, ports and secrets. Out: `Service`s, and the environment for their clients.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.machine.local.local_ray import local_resources
from flows.dev import s3
from flows.dev.ports import Ports
from flows.dev.processes import MARK, SERVICE_MARK
from flows.dev.state import Place, StackState

BUCKET = "hanclip"
#: What the flow `reap` expects by default.
HEARTBEAT_S = 60
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the stack, its web page, and which `Ports` it listens on."""

    name: str
    command: tuple[str, ...]
    url: str
    ports: tuple[str, ...] = ()


def weed() -> str | None:
    """The S3 server's program, if it is installed."""
    installed = _BIN / "weed"
    return str(installed) if installed.exists() else shutil.which("weed")


def client_env(place: Place, ports: Ports) -> dict[str, str]:
    """The environment of a shell that uses the stack."""
    env = {
        "PREFECT_API_URL": f"http://127.0.0.1:{ports.prefect}/api",
        "PREFECT_API_AUTH_STRING": place.secrets().prefect_auth,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(place.ray_token_file),
        "HANCLIP_RAY_ADDRESS": f"http://127.0.0.1:{ports.dashboard}",
        "NO_PROXY": ",".join(filter(None, ("127.0.0.1", os.environ.get("NO_PROXY")))),
    }
    return env | s3.client_env(ports.s3, place.secrets()) if weed() else env


def service_env(place: Place, state: StackState, name: str) -> dict[str, str]:
    """The environment of a service's processes: this one, with every address pointing to the stack."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_AUTH_"))}
    inherited.pop("RAY_ADDRESS", None)
    own = s3.server_env(place.secrets()) if name == "s3" else {}
    return inherited | client_env(place, state.ports) | own | {
        MARK: str(place.folder),
        SERVICE_MARK: name,
        # Killed processes cannot remove their temporary files; `hanclip dev down` removes this folder.
        "TMPDIR": str(state.temp_folder),
        # The entrypoint of a Ray job is `python`, which must be this one.
        "PATH": os.pathsep.join([str(_BIN), os.environ.get("PATH", os.defpath)]),
        "PREFECT_HOME": str(place.folder / "prefect"),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{place.folder}/prefect/prefect.db",
        "PREFECT_SERVER_API_AUTH_STRING": place.secrets().prefect_auth,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_S),
        # Leases in memory, the default, are lost at a restart, and their concurrency slots stay taken.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # The first night of a new schedule appears within seconds, not a minute.
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_RUNNER_POLL_FREQUENCY": "3",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }  # fmt: skip


def servers(place: Place, state: StackState) -> list[Service]:
    """The services that depend on no other: S3 (if it is installed), Prefect, Ray."""
    program = weed()
    found = [_prefect(state.ports), _ray(state)]
    if program is not None:
        port = state.ports.s3
        command = s3.command(program, place.folder / "s3", port, place.secrets())
        found.insert(0, Service("s3", command, f"http://127.0.0.1:{port}", ("s3",)))
    return found


def flows(ports: Ports) -> Service:
    """The service that needs the others: registers the flows and runs them."""
    return Service(
        "flows", (sys.executable, "-m", "flows.dev.serving"), f"http://127.0.0.1:{ports.prefect}/deployments"
    )


def shell_lines(env: Mapping[str, str]) -> str:
    """Lines for a shell that set `env`, and drop a token of another Ray, which would take precedence."""
    return "unset RAY_AUTH_TOKEN\n" + "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())


def _prefect(ports: Ports) -> Service:
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(ports.prefect))
    return Service("prefect", command, f"http://127.0.0.1:{ports.prefect}", ("prefect",))


def _ray(state: StackState) -> Service:
    ports = state.ports
    numbers = {
        "port": ports.gcs,
        "dashboard-port": ports.dashboard,
        "ray-client-server-port": ports.client,
        "dashboard-agent-listen-port": ports.agent,
        "metrics-export-port": ports.metrics,
        "object-store-memory": int(local_resources().object_store_bytes),
    }
    command = (
        *(str(_BIN / "ray"), "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--temp-dir={state.ray_folder}"),
        *(f"--{name}={number}" for name, number in numbers.items()),
    )
    used = ("gcs", "dashboard", "client", "agent", "metrics")
    return Service("ray", command, f"http://127.0.0.1:{ports.dashboard}", used)
