"""A real Prefect server on a loopback port of its own, and served flows as processes: started and ended by their pids.

    server = PrefectServer(folder); server.start()
    with Runner(server, folder, "serving.py") as runner: ...

SQLite in `folder` unless a Postgres is given. Everything that Prefect writes goes to `folder`, nothing to the home.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from postgres import Postgres, postgres_binaries
from sessions import end_session, free_port, runs_a_flow, session_pids, until

__all__ = ["PREFECT", "PrefectServer", "Runner", "until"]

ROOT = Path(__file__).parent.parent
PREFECT = str(Path(sys.executable).with_name("prefect"))
#: What makes a server that waits for minutes by default answer within seconds.
_QUICK = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "PREFECT_CLI_PROMPT": "false",
    "NO_PROXY": "127.0.0.1",
}


@dataclass
class PrefectServer:
    """One `prefect server start --no-ui`. It comes back on the same port with the same database."""

    folder: Path
    database_url: str | None = None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def env(self) -> dict[str, str]:
        """What a client of this server needs."""
        return {**_QUICK, "PREFECT_HOME": str(self.folder / "home"), "PREFECT_API_URL": self.url}

    def start(self) -> None:
        (self.folder / "home").mkdir(parents=True, exist_ok=True)
        database = {"PREFECT_API_DATABASE_CONNECTION_URL": self.database_url} if self.database_url else {}
        env = {**os.environ, **self.env, **database}
        env.pop("PREFECT_API_URL")
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [PREFECT, "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers, f"the server; its log ends with {self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the server and whatever it started."""
        if self.process:
            end_session(self.process, number)
            self.process = None

    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """One request to the API, made again while the server is too busy to answer (SQLite has one writer)."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"content-type": "application/json"}, method=method)
        for attempt in range(20):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    content = answer.read()
            except urllib.error.HTTPError as error:
                if error.code != 503 or attempt == 19:
                    raise
                time.sleep(0.5)
            else:
                break
        return json.loads(content) if content else None

    def answer(self, method: str, path: str, body: object = None) -> int:
        """The status of an answer, whichever it is."""
        try:
            self.call(method, path, body)
        except urllib.error.HTTPError as error:
            return error.code
        return 200

    def flow_runs(self, **where: object) -> list[dict[str, Any]]:
        """Flow runs, the earliest first."""
        body = {"sort": "EXPECTED_START_TIME_ASC", "limit": 200, **({"flow_runs": where} if where else {})}
        found: list[dict[str, Any]] = self.call("POST", "/flow_runs/filter", body)
        return found

    def flow_run(self, flow_run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/flow_runs/{flow_run_id}")
        return found

    def artifacts(self, flow_run_id: str) -> dict[str, dict[str, Any]]:
        """Artifacts of a flow run by key, the newest of each."""
        body = {"artifacts": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "UPDATED_DESC", "limit": 100}
        found = self.call("POST", "/artifacts/filter", body)
        return {artifact["key"]: artifact for artifact in reversed(found)}

    def logs(self, flow_run_id: str) -> str:
        """What a flow run logged."""
        body = {"logs": {"flow_run_id": {"any_": [flow_run_id]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return "\n".join(line["message"] for line in self.call("POST", "/logs/filter", body))

    def cli(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """`prefect ARGV` against this server."""
        env = {**os.environ, **self.env}
        return subprocess.run([PREFECT, *argv], cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    def _answers(self) -> bool:
        assert self.process is None or self.process.poll() is None, self.log()
        try:
            return self.call("GET", "/health") is True
        except (OSError, urllib.error.URLError):
            return False


class Runner:
    """A process that serves flows: `script` is Python that ends in `serve(...)`."""

    def __init__(self, server: PrefectServer, folder: Path, script: str, env: Mapping[str, str] | None = None) -> None:
        self._server, self._folder, self._env = server, folder, dict(env or {})
        self._path = folder / "serving.py"
        self._path.write_text(script)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "runner.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self._path)],
                cwd=ROOT,
                env={**os.environ, **self._server.env, "PYTHONPATH": _python_path(), **self._env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def children(self) -> list[int]:
        """Pids of the flow processes."""
        assert self.process
        return [pid for pid in session_pids(self.process.pid) if pid != self.process.pid and runs_a_flow(pid)]

    def kill(self) -> None:
        """SIGKILL the runner and its flow processes."""
        assert self.process
        end_session(self.process, signal.SIGKILL)
        self.process = None

    def stop(self) -> None:
        if self.process:
            end_session(self.process, signal.SIGINT)
            self.process = None

    def log(self) -> str:
        return (self._folder / "runner.log").read_text(errors="replace")[-6000:]

    def __enter__(self) -> Runner:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server on SQLite. Of each file its own: idle for the rest of the session it would cost more than a start."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def prefect_here(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """The same, with flows that are called in this process reporting to it."""
    for name, value in prefect_server.env.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # The heartbeat thread costs each flow a second at its end.
    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield prefect_server


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server of its own on Postgres; on SQLite where Debian's package is not installed."""
    binaries = postgres_binaries()
    with contextlib.ExitStack() as stack:
        server = PrefectServer(tmp_path_factory.mktemp("prefect-postgres"))
        if binaries:
            # Not below pytest's folder, which only root may enter.
            database = Postgres(Path(tempfile.mkdtemp(prefix="hc-postgres-", dir="/tmp")), binaries)
            stack.callback(database.stop)
            database.start()
            server.database_url = database.url
        stack.callback(server.stop)
        server.start()
        yield server
