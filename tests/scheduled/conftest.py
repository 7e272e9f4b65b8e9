"""The Prefect server that the tests of this folder share; a test checks only its own flow runs and deployments."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.servers.postgres import Postgres, postgres_binaries
from tests.fixtures.servers.prefect import PrefectServer


@pytest.fixture(scope="package")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server on Postgres, or on SQLite like that of `hanclip dev` if Debian's package is not installed."""
    binaries = postgres_binaries()
    with contextlib.ExitStack() as stack:
        server = PrefectServer(tmp_path_factory.mktemp("prefect"))
        if binaries:
            # Not in pytest's folder, which only root may enter.
            database = Postgres(Path(tempfile.mkdtemp(prefix="hc-postgres-", dir="/tmp")), binaries)
            stack.callback(database.stop)
            database.start()
            server.database_url = database.url
        stack.callback(server.stop)
        server.start()
        yield server
        send_pending()


def send_pending() -> None:
    """Send the logs and events of this process now: without the server, its exit would wait for them for a minute."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=30)


@pytest.fixture
def prefect_here(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """The same server; flows that are called in this process report to it."""
    for name, value in prefect_server.env.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # Stopping the heartbeat thread takes a second at the end of each flow.
    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield prefect_server
