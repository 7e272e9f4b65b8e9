"""The cluster that the tests of this folder share; a test checks only its own jobs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.servers.ray_head import RayHead


@pytest.fixture(scope="package")
def ray_head() -> Iterator[RayHead]:
    """A Ray head with dashboard, Jobs API and token authentication. It ends with the folder, as its daemons use CPU."""
    head = RayHead()
    head.start()
    yield head
    head.stop()
