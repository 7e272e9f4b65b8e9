"""The online API on Ray Serve: behind HAProxy, with two replicas, one of which is killed under load."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import psutil
import pytest

from actors.serving import replica
from pipeline.errors import ConfigError
from pipeline.serving.access.keys import VARIABLE, digest
from tests.fixtures.places import ROOT
from tests.fixtures.serving import FakeEncoder, an_app

KEY = "hc_test"
MAIN = (sys.executable, "-m", "tests.fixtures.toy_serve")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The URL, and the process whose descendants are Ray's."""
    environment = {**os.environ, VARIABLE: f"shop:{digest(KEY)}"}
    with (
        tempfile.TemporaryDirectory(prefix="serve-") as short,  # names of sockets have at most 107 characters
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            [*MAIN, short],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env=environment,
        ) as process,
    ):
        assert process.stdout
        assert process.stdin
        url = next((line.split()[1] for line in process.stdout if line.startswith("url ")), "")
        assert url, (tmp_path / "log").read_text()
        yield url, psutil.Process(process.pid)
        process.stdin.close()
        assert process.wait(60) == 0


def test_a_client_that_tries_again_notices_no_killed_replica(cluster: tuple[str, psutil.Process]) -> None:
    url, process = cluster
    texts, vectors, over = ["猫", "红色连衣裙"], list[object](), threading.Event()

    def ask() -> None:
        with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY) as client:
            while not over.is_set():
                vectors.append([one.embedding for one in client.embeddings.create(model="demo", input=texts).data])

    with openai.OpenAI(base_url=f"{url}/v1", api_key="wrong") as other, pytest.raises(openai.AuthenticationError):
        other.models.list()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for each in threads:
        each.start()
    while len(vectors) < 20:
        time.sleep(0.01)
    replicas = [one for one in process.children(recursive=True) if "ServeReplica" in one.name() + one.cmdline()[0]]
    assert len(replicas) == 2
    replicas[0].kill()
    while replicas[0].is_running() and replicas[0].status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    enough = len(vectors) + 100
    while len(vectors) < enough and all(each.is_alive() for each in threads):
        time.sleep(0.01)
    over.set()
    alive = [each.is_alive() for each in threads]
    for each in threads:
        each.join()
    assert (all(alive), len(vectors) >= enough) == (True, True)
    found = np.array(vectors, np.float32)
    np.testing.assert_allclose(found, np.broadcast_to(found[0], found.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found[0], axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": {"name": "demo"}}, "there are no keys"),
        ({"model": {"nam": "demo"}}, "did you mean name"),
        ({"network": {"port": 9000}, "access": {"no_auth": True}}, "http_options"),
    ],
)
def test_wrong_arguments_fail_where_the_application_is_deployed(
    arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=message):
        replica.application(arguments)


def test_a_replica_that_is_asked_for_its_health_sets_the_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    app = an_app(FakeEncoder(batch_size=4))
    monkeypatch.setattr(replica, "loaded_application", lambda *_: app)
    monkeypatch.setattr(replica, "_cores", lambda: 1.0)
    one = replica.Replica({"access": {"no_auth": True}})
    one.__serve_build_asgi_app__()
    one.check_health()
    sent = app.state.server.desk.metrics
    assert sent.most_rows.values == {("image",): 4, ("text",): 16}
    assert sent.most_rows.mirror is not None
