"""Connections of `hanclip serve` whose clients ask for too much, send or read too slowly, or say what is not so."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from flows.commands.serving import connections
from flows.commands.serving.host import Host
from flows.commands.serving.serve import listening
from pipeline.serving.app import Application
from pipeline.serving.settings import Network
from tests.fixtures.serving import FakeEncoder, a_picture, an_app, base64_of

MODELS = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"
BODY = b'{"input": "a"}'
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n"


def test_a_connection_that_was_accepted_may_ask_after_the_server_stopped_listening() -> None:
    with hosted() as (host, place), socket.create_connection(place, 30) as idle:
        host.handle_exit(signal.SIGTERM, None)
        while listens(place):
            time.sleep(0.01)
        answer = answer_to(idle, MODELS)
        assert (answer.status, answer.headers["connection"]) == (200, "close")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        b"GET / HTTP/1.1\r\nX-A: ",
        b"POST /v1/embeddings HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: ",
    ],
    ids=["target", "header", "trailer"],
)
def test_a_head_or_trailer_without_end_closes_its_connection(start: bytes) -> None:
    with hosted() as (_, place), socket.create_connection(place, 30) as client:
        client.sendall(start)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(b"a" * 2**26)


def test_a_client_that_sends_no_head_in_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    with hosted() as (_, place):
        for first, rest in ((b"", b""), (b"GET / HTTP/1.1\r\nHost", b""), (MODELS, b"GET")):
            with socket.create_connection(place, 30) as client:
                client.sendall(first)
                if rest:
                    client.recv(2**16)
                    client.sendall(rest)
                while client.recv(2**16):
                    pass


def test_more_connections_than_there_may_be_close_those_that_wait() -> None:
    with hosted(max_connections=4) as (host, place):
        idle = [socket.create_connection(place, 30) for _ in range(4)]
        for _ in range(8):
            with socket.create_connection(place, 30) as client:
                assert answer_to(client, MODELS).status == 200
        assert idle[0].recv(100) == b""
        assert len(host.server_state.connections) <= 4
        for each in idle:
            each.close()


def test_a_connection_is_refused_if_all_others_are_asking_and_the_slowest_gives_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with hosted(max_connections=2) as (host, place):
        asking = [socket.create_connection(place, 30) for _ in range(2)]
        for each in asking:
            each.sendall(HEAD)
            while not any(one.is_sending for one in host.server_state.connections):
                time.sleep(0.01)
        while sum(each.is_sending for each in host.server_state.connections) < 2:
            time.sleep(0.01)
        with socket.create_connection(place, 30) as client:
            refused = answer_to(client, b"")
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        assert int(refused.headers["retry-after"])
        monkeypatch.setattr(connections, "YIELDS_AFTER_S", 0.0)
        with socket.create_connection(place, 30) as client:
            assert answer_to(client, MODELS).status == 200
        assert asking[0].recv(100) == b""
        assert answer_to(asking[1], BODY).status == 200
        for each in asking:
            each.close()


def test_slow_clients_do_not_keep_a_quick_one_out() -> None:
    with hosted() as (host, place), ExitStack() as stack:
        for _ in range(300):  # more than requests may be in progress
            stack.enter_context(socket.create_connection(place, 30)).sendall(HEAD + BODY[:1])
        while sum(each.is_sending for each in host.server_state.connections) < 300:
            time.sleep(0.01)
        with socket.create_connection(place, 1) as client:
            assert answer_to(client, HEAD + BODY).status == 200


def test_a_request_is_refused_before_its_body_has_come_and_its_connection_goes_on() -> None:
    encoder = FakeEncoder()
    encoder.gate.clear()
    app = an_app(encoder, max_requests=1)
    length = 2**19
    with (
        hosted(app) as (_, place),
        socket.create_connection(place, 30) as first,
        socket.create_connection(place, 30) as late,
    ):
        first.sendall(HEAD + BODY)
        while not app.state.server.desk.in_flight:
            time.sleep(0.01)
        refused = answer_to(late, HEAD.replace(b"14", str(length).encode()) + b"{")
        assert (refused.status, refused.error["code"]) == (503, "overloaded")
        encoder.gate.set()
        assert answer_to(first, b"").status == 200
        assert answer_to(late, b" " * (length - 1) + MODELS).status == 200


def test_an_answer_that_nobody_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.1)
    monkeypatch.setattr(connections, "LEAST_BYTES_PER_S", 2**30)
    picture = base64_of(a_picture())
    body = json.dumps({"images": [picture] * 64, "texts": [str(number) for number in range(2000)]}).encode()
    head = b"POST /v1/similarity HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    with hosted() as (host, place), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        client.connect(place)
        client.sendall(head + body)
        while not any(each.transport.get_write_buffer_size() for each in host.server_state.connections):
            time.sleep(0.01)
        began_s = time.monotonic()
        while host.server_state.connections:
            assert time.monotonic() - began_s < 20
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"Content-Length: 2\r\n", 400),  # the rest is no request
        (b"Content-Length: -14\r\n", 400),
        (b"Content-Length: 14\r\nContent-Length: 15\r\n", 400),
        (b"Content-Length: 14\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: 99999999999999999999999\r\n", 400),
        (b"Transfer-Encoding: chunked\r\n", 400),
        (b"Content-Length: 15\r\n", None),  # the client leaves without the last byte
    ],
)
def test_a_body_of_another_length_than_its_head_says_is_refused(head: bytes, status: int | None) -> None:
    with hosted() as (host, place), socket.create_connection(place, 30) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n" + head + b'\r\n{"input": "a"}')
        if status is None:
            client.shutdown(socket.SHUT_WR)
        answered = answer_to(client, b"") if status else None
        assert (answered and (answered.status, answered.error["code"])) == (status and (status, "invalid_request"))
        while host.server_state.connections:
            time.sleep(0.01)


class Answer(NamedTuple):
    status: int
    headers: Any
    error: dict[str, Any]


def answer_to(client: socket.socket, request: bytes) -> Answer:
    client.sendall(request)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return Answer(answer.status, answer.headers, json.loads(answer.read()).get("error", {}))


@contextmanager
def hosted(app: Application | None = None, **options: Any) -> Iterator[tuple[Host, Any]]:
    """The host in a thread, and its address."""
    network = Network(port=0, drain_s=0.1, **options)
    with listening(network) as listener:
        started, place = threading.Event(), listener.getsockname()
        host = Host(app or an_app(), network, started.set)
        running = threading.Thread(target=host.run, args=(listener,))
        running.start()
        assert started.wait(30)
        try:
            yield host, place
        finally:
            host.should_exit = True
            running.join()


def listens(place: Any) -> bool:
    try:
        socket.create_connection(place, 30).close()
    except ConnectionRefusedError:
        return False
    return True
