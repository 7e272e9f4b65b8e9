"""The online API on Ray Serve: behind HAProxy, with two replicas, one of which is killed under load."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import openai
import psutil
import pytest
from ray.serve._private.haproxy import BackendConfig, HAProxyApi, HAProxyConfig, ServerConfig
from ray.serve.config import HTTPOptions

from actors.serving import replica
from actors.serving.haproxy import replace_error_page
from pipeline.errors import ConfigError
from pipeline.serving.access.keys import VARIABLE, digest
from tests.fixtures.places import ROOT
from tests.fixtures.processes import free_port, free_ports
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


LOCATION = "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC"


def haproxy(folder: Path, *backends: BackendConfig) -> HAProxyApi:
    """Ray's HAProxy of the node `node`, without Ray."""
    port, stats, metrics = free_ports(3)
    config = HAProxyConfig(
        http_options=HTTPOptions(host="127.0.0.1", port=port),
        stats_port=stats,
        metrics_port=metrics,
        metrics_enabled=False,
        socket_path=str(folder / "admin.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "state"),
        retries=0,
    )
    return HAProxyApi(config, {one.name: one for one in backends}, str(folder / "node" / "haproxy.cfg"))


def test_haproxy_answers_for_replicas_in_the_form_of_all_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def run(folder: Path) -> list[httpx.Response]:
        monkeypatch.setenv(LOCATION, str(folder / "haproxy.cfg"))
        lost, port = await asyncio.start_server(dies, "127.0.0.1", 0), free_port()
        server = ServerConfig("one", "127.0.0.1", lost.sockets[0].getsockname()[1])
        absent = ServerConfig("two", "127.0.0.1", port)
        proxy = haproxy(
            folder,
            BackendConfig("lost", "/lost", servers=[server]),
            BackendConfig("absent", "/absent", servers=[absent]),
            BackendConfig("none", "/none"),
        )
        replace_error_page("node")
        await proxy.start()
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.cfg.frontend_port}") as client:
                return [await client.post(f"/{name}", content=b"{}") for name in proxy.backend_configs]
        finally:
            await proxy.stop()
            lost.close()

    with tempfile.TemporaryDirectory(prefix="serve-") as short:  # names of sockets have at most 107 characters
        answers = asyncio.run(run(Path(short)))
    for answer in answers:
        error = answer.json()["error"]
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/json"
        assert (error["type"], error["code"], error["param"]) == ("server_error", "no_replica", None)


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


def test_a_replica_that_is_asked_for_its_health_sets_the_gauges_and_the_answer_of_haproxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    app = an_app(FakeEncoder(batch_size=4))
    monkeypatch.setattr(replica, "loaded_application", lambda *_: app)
    monkeypatch.setattr(replica, "_cores", lambda: 1.0)
    logged: list[bool] = []
    monkeypatch.setattr(replica, "log_as_json", lambda with_access: logged.append(with_access))
    monkeypatch.setattr(replica, "own_node_id", lambda: "node")
    monkeypatch.setenv(LOCATION, str(tmp_path / "haproxy.cfg"))
    one = replica.Replica({"access": {"no_auth": True}})
    one.__serve_build_asgi_app__()
    assert logged == [False]
    page = Path(haproxy(tmp_path).cfg.error_file_path or "")  # HAProxy begins, or begins again, behind the replica
    assert page.read_bytes().startswith(b"HTTP/1.1 500 ")
    one.check_health()
    assert page.read_bytes().startswith(b"HTTP/1.1 503 ")
    sent = app.state.server.desk.metrics
    assert sent.most_rows.values == {("image",): 4, ("text",): 16}
    assert sent.most_rows.mirror is not None
