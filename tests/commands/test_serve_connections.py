"""Connections of `hanclip serve` whose clients ask for too much, send or read too slowly, or say what is not so."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flows.commands.serving import connections
from flows.commands.serving.host import Host
from flows.commands.serving.serve import listening
from pipeline.serving.settings import Network
from tests.fixtures.serving import a_picture, an_app, base64_of

MODELS = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


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


def test_a_connection_is_refused_if_all_others_are_asking() -> None:
    slow = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n"
    with hosted(max_connections=2) as (host, place):
        asking = [socket.create_connection(place, 30) for _ in range(2)]
        for each in asking:
            each.sendall(slow)
        while sum(each.is_answering for each in host.server_state.connections) < 2:
            time.sleep(0.01)
        with socket.create_connection(place, 30) as client:
            refused = answer_to(client, b"")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        for each in asking:
            assert answer_to(each, b'{"input": "a"}').status == 200
            each.close()


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
        answered = client.recv(2**16)
        assert (int(answered.split()[1]) if answered else None) == status
        while host.server_state.connections:
            time.sleep(0.01)


def answer_to(client: socket.socket, request: bytes) -> http.client.HTTPResponse:
    client.sendall(request)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    answer.read()
    return answer


@contextmanager
def hosted(**options: Any) -> Iterator[tuple[Host, Any]]:
    """The host in a thread, and its address."""
    network = Network(port=0, drain_s=0.1, **options)
    with listening(network) as listener:
        started, place = threading.Event(), listener.getsockname()
        host = Host(an_app(), network, started.set)
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
