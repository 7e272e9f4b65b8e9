"""`hanclip dev nightly` against a small server that keeps schedules as Prefect does and fails on request."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.dev import nightly
from flows.dev.ports import choose
from flows.dev.state import Place, StackState
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, RunError


class Schedules(ThreadingHTTPServer):
    """The schedules of `nightly/dev`. The request with the number `fails` is answered 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held: list[dict[str, Any]] = []
        self.fails: int | None = None
        self.requests = 0

    def crons(self) -> list[str]:
        return [one["schedule"]["cron"] for one in self.held]


class Handler(BaseHTTPRequestHandler):
    server: Schedules

    def do_GET(self) -> None:
        self._answer({"id": "d", "schedules": self.server.held})

    def do_POST(self) -> None:
        if not self._fails():
            (new,) = self._body()
            self.server.held.append({"id": f"s{len(self.server.held)}", **new})
            self._answer(None)

    def do_PATCH(self) -> None:
        if not self._fails():
            self._mine().update(self._body())
            self._answer(None)

    def do_DELETE(self) -> None:
        if not self._fails():
            self.server.held.remove(self._mine())
            self._answer(None)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _mine(self) -> dict[str, Any]:
        return next(one for one in self.server.held if one["id"] == self.path.rpartition("/")[2])

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["content-length"])))

    def _fails(self) -> bool:
        self.server.requests += 1
        if failed := self.server.requests == self.server.fails:
            self._answer({"detail": "database is locked " * 1000}, 503)
        return failed

    def _answer(self, body: object, status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server() -> Iterator[Schedules]:
    server = Schedules()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def folder(tmp_path: Path, server: Schedules) -> Path:
    ports = choose({}, None).model_copy(update={"prefect": server.server_port})
    Place.at(tmp_path / "stack").save(StackState(ports=ports, scratch=tmp_path))
    return tmp_path / "stack"


def config(out: str) -> RunConfig:
    return RunConfig.model_validate({"source": {"uris": ["s3://photos/"]}, "output": {"uri": out}})


def legacy(number: int, cron: str) -> dict[str, Any]:
    """A schedule without a slug, as a person or an older version made it."""
    parameters = {"config": {"output": {"uri": "s3://out"}}}
    return {"id": f"old{number}", "slug": None, "schedule": {"cron": cron}, "active": False, "parameters": parameters}


def test_each_output_has_one_schedule(folder: Path, server: Schedules) -> None:
    times = nightly.schedule(folder, config("s3://out"), "30 4 * * *", "UTC")
    assert [(time.hour, time.minute) for time in times] == [(4, 30)] * 3
    nightly.schedule(folder, config("s3://other"), "0 3 * * *", "UTC")
    nightly.schedule(folder, config("s3://out"), "0 5 * * *", "UTC")
    nightly.schedule(folder, config("s3://out"), "0 5 * * *", "UTC")
    assert server.crons() == ["0 5 * * *", "0 3 * * *"]
    # Prefect does this when somebody pauses it.
    server.held[0].update(active=False, parameters={})
    nightly.schedule(folder, config("s3://out"), "0 5 * * *", "UTC")
    assert (len(server.held), server.held[0]["active"]) == (2, True)
    assert server.held[0]["parameters"]["config"]["output"]["uri"] == "s3://out"


@pytest.mark.parametrize(
    ("before", "fails"),
    [
        ([], 1),
        (["1 1 * * *"], 1),
        (["1 1 * * *", "2 2 * * *", "3 3 * * *"], 1),
        (["1 1 * * *", "2 2 * * *", "3 3 * * *"], 2),
        (["1 1 * * *", "2 2 * * *", "3 3 * * *"], 3),
    ],
)
def test_a_server_that_fails_in_the_middle_leaves_the_old_schedule(
    folder: Path, server: Schedules, before: list[str], fails: int
) -> None:
    server.held, server.fails = [legacy(number, cron) for number, cron in enumerate(before)], fails
    with pytest.raises(RunError, match="answered 503:") as failed:
        nightly.schedule(folder, config("s3://out"), "0 5 * * *", "UTC")
    assert "Run the same command again" in str(failed.value)
    assert len(str(failed.value)) < 800
    assert server.crons()[:1] == before[:1]
    assert set(server.crons()) <= set(before)
    nightly.schedule(folder, config("s3://out"), "0 5 * * *", "UTC")
    assert server.crons() == ["0 5 * * *"]


def test_a_wrong_time_zone_or_cron_line_asks_no_server(folder: Path, server: Schedules) -> None:
    with pytest.raises(ConfigError, match="use Asia/Shanghai"):
        nightly.schedule(folder, config("s3://out"), "30 4 * * *", "Asia/Beijing")
    with pytest.raises(ConfigError, match="has 6 fields"):
        nightly.schedule(folder, config("s3://out"), "*/10 * * * * *", "UTC")
    assert (server.requests, server.held) == (0, [])


def test_a_missing_stack_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no stack in .*Start it: hanclip dev up"):
        nightly.schedule(tmp_path / "none", config("s3://out"), "30 4 * * *", "UTC")
    assert not (tmp_path / "none").exists()
