"""The cluster that the tests of this folder share; a test checks only its own jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.forks import ForkServer
from tests.fixtures.minimal.forking import WORKER
from tests.fixtures.servers.ray_head import RayHead


@pytest.fixture(scope="package")
def ray_head(fork_server: ForkServer) -> Iterator[RayHead]:
    """A Ray head with dashboard, Jobs API and token authentication. It ends with the folder, as its daemons use CPU."""
    head = RayHead(env=fork_server.env)
    head.start()
    fork_server.wait(WORKER)
    yield head
    head.stop()
