"""A real Ray head with dashboard and Jobs API, and token authentication: what a shared cluster looks like.

It is started as a child process with ports of its own and ended by its pid, so that nothing else on the machine that
is called ray is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOKEN = "a-test-token-of-more-than-32-characters"
_READY_S = 120.0
_GONE_S = 60.0
_PORTS = ("port", "dashboard-port", "ray-client-server-port", "dashboard-agent-listen-port", "metrics-export-port")


@dataclass
class RayHead:
    """One head node. `start` it, `stop` it.

    Attributes:
        env: variables of the node on top of this process's environment; its jobs inherit them.
        address: of the cluster, as `ray.init(address=...)` takes it.
        dashboard: URL of the dashboard and the Jobs API.
        token: what they want to see.
    """

    num_cpus: int = 2
    token: str = TOKEN
    env: dict[str, str] = field(default_factory=dict)
    address: str = ""
    dashboard: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until the Jobs API answers."""
        # Ray's socket paths are limited to 107 characters, which the folders of a test runner exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.address = f"127.0.0.1:{ports['port']}"
        self.dashboard = f"http://127.0.0.1:{ports['dashboard-port']}"
        command = [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *("--node-ip-address=127.0.0.1", f"--num-cpus={self.num_cpus}", f"--object-store-memory={200 * 2**20}"),
            *("--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--temp-dir={self.folder}"),
            *("--disable-usage-stats", *(f"--{name}={port}" for name, port in ports.items())),
        ]
        with (self.folder / "head.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, **self.client_env, **self.env},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait()

    @property
    def client_env(self) -> Mapping[str, str]:
        """What a process needs to talk to this cluster."""
        path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
        return {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
            "PYTHONPATH": path,
        }

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of the Jobs API with the token: `request("GET", "/api/jobs/")`."""
        request = urllib.request.Request(
            self.dashboard + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def stop(self) -> None:
        """End the head, everything that it started, and its folder."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        end_s = time.monotonic() + _GONE_S
        while (left := processes_below(self.folder)) or self.process.poll() is None:
            if time.monotonic() > end_s:
                for pid in [*left, self.process.pid]:
                    _kill(pid)
            time.sleep(0.1)
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        assert self.process
        end_s = time.monotonic() + _READY_S
        while self.process.poll() is None and time.monotonic() < end_s:
            try:
                self.request("GET", "/api/jobs/")
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
            else:
                return
        log = (self.folder / "head.log").read_text()[-2000:]
        self.stop()
        raise RuntimeError(f"the head did not start: {log}")


def processes_below(folder: Path) -> list[int]:
    """Pids of the living processes that a Ray with this temporary folder started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{folder}/".encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # It ended meanwhile.
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
