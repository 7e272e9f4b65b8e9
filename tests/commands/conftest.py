"""Servers that tests of several commands share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.servers.postgres import Postgres, pgvector_binaries


@pytest.fixture(scope="session")
def pgvector_server() -> Iterator[Postgres]:
    binaries = pgvector_binaries()
    if binaries is None:
        pytest.skip("needs PostgreSQL with pgvector: pip install pgserver")
    server = Postgres(Path(tempfile.mkdtemp(prefix="hc-pgvector-", dir="/tmp")), binaries)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def pgvector(pgvector_server: Postgres) -> Postgres:
    """A PostgreSQL with pgvector, without tables."""
    pgvector_server.psql(Path("/"), "-c", "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return pgvector_server
