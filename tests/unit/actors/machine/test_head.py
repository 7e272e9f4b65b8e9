"""What is found out about an address before Ray connects to it."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from actors.machine import head
from pipeline.errors import RunError
from tests.fixtures.processes import free_ports
from tests.fixtures.servers.web import Site


@contextmanager
def grpc_server(required: str | None) -> Iterator[str]:
    """A server that answers a head's liveness check, or no method at all if `required` is None; its address."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if required not in ("", dict(context.invocation_metadata()).get("authorization")):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
        return b""

    server = grpc.server(ThreadPoolExecutor(1))
    method = grpc.unary_unary_rpc_method_handler(answer)
    if required is not None:
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", {"CheckAlive": method}),)
        )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@contextmanager
def silent() -> Iterator[str]:
    """A server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def closed() -> Iterator[str]:
    """An address where nothing listens."""
    yield f"127.0.0.1:{free_ports(1)[0]}"


@contextmanager
def unknown() -> Iterator[str]:
    """A host that does not exist."""
    yield "no-such-host.invalid:6379"


def test_a_head_accepts_its_token_and_nothing_else() -> None:
    with grpc_server("Bearer right") as address:
        assert [head.accepts(address, token) for token in ("", "wrong", "密码", "right")] == [False, False, False, True]
    with grpc_server("") as address:
        assert head.accepts(address, "")


@pytest.mark.parametrize(
    ("server", "named"),
    [
        (closed, "Connection refused"),
        (unknown, "the host is unknown"),
        (silent, "something listens there but does not answer"),
        (lambda: grpc_server(None), "another server answers there"),
    ],
)
def test_an_address_without_a_head_is_named_with_its_fault(
    server: Callable[[], Iterator[str]], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_ANSWER_S", 0.5)
    began_s = time.monotonic()
    with server() as address, pytest.raises(RunError, match=named) as raised:
        head.accepts(address, "")
    assert address in str(raised.value)
    assert "--address: HOST:PORT" in str(raised.value)
    assert time.monotonic() - began_s < head.ASK_S


def test_the_address_of_a_dashboard_is_recognized(site: Site) -> None:
    for address in (site.url(""), site.url("").removeprefix("http://")):
        with pytest.raises(RunError, match=r"web server.*--jobs-address"):
            head.accepts(address, "")


@pytest.mark.parametrize("address", ["head", "head:port", "ray://head:10001"])
def test_what_is_no_address_of_a_head_is_refused(address: str) -> None:
    with pytest.raises(RunError, match="--address: HOST:PORT"):
        head.accepts(address, "")
