"""The Prefect server that the tests of this folder share; each looks at flow runs and deployments of its own only."""

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
    """A server on Postgres; on SQLite, as that of `hanclip dev`, where Debian's package is not installed."""
    binaries = postgres_binaries()
    with contextlib.ExitStack() as stack:
        server = PrefectServer(tmp_path_factory.mktemp("prefect"))
        if binaries:
            # Not below pytest's folder, which only root may enter.
            database = Postgres(Path(tempfile.mkdtemp(prefix="hc-postgres-", dir="/tmp")), binaries)
            stack.callback(database.stop)
            database.start()
            server.database_url = database.url
        stack.callback(server.stop)
        server.start()
        yield server


@pytest.fixture
def prefect_here(prefect_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """The same, with flows that are called in this process reporting to it."""
    for name, value in prefect_server.env.items():
        monkeypatch.setenv(name, value)
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    # The heartbeat thread costs each flow a second at its end.
    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield prefect_server
