"""Many clients of one server, in a process of their own: each sends a request, waits for the answer, sends the next.

python -m benchmarks.serve.load http://127.0.0.1:8000 bodies --clients 64 --warm 1 --seconds 5

`bodies` is a file with a body in each line. Prints `begun` when the warm-up ends, and then `Answers` as JSON. Requests
that are still open at the end are given up, as by clients that leave. HTTP is written by hand, on the event loop that
uvicorn uses too: a client library would take more of the machine's time than the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import uvloop

_PERCENTS = (50, 95, 99)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_RECONNECT_S = 0.1


@dataclass(frozen=True, slots=True)
class Answers:
    """What the clients saw after the warm-up.

    Attributes:
        seconds: for which they asked.
        answered, refused, failed: answers with 200; with 429 or 503, after which a client waits as it is told; others,
            and broken connections.
        answered_ms, refused_ms: percentiles of their latencies, in the order of 50, 95, 99.
        first_s: from the start of the process's clients to the first answer of all; None without any.
        cpu_s: CPU seconds of the clients.
    """

    seconds: float
    answered: int
    refused: int
    failed: int
    answered_ms: Sequence[float | None]
    refused_ms: Sequence[float | None]
    first_s: float | None
    cpu_s: float


class Seen:
    """What the clients of this process have seen so far."""

    def __init__(self) -> None:
        self.answered: list[float] = []
        self.refused: list[float] = []
        self.failed = 0
        self.first_s: float | None = None

    def forget(self) -> None:
        """Begin again."""
        self.answered, self.refused, self.failed = [], [], 0


class Clients:
    """The clients.

    Args:
        url: of the server.
        path: of all requests.
        bodies: of the requests, in turns.
    """

    def __init__(self, url: str, path: str, bodies: Sequence[bytes]) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        head = f"POST {path} HTTP/1.1\r\nHost: {parts.hostname}\r\nContent-Type: application/json\r\n"
        self._requests = [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
        self._numbers = count()
        self._over = False
        self.seen = Seen()

    async def ask(self, many: int, warm_s: float, seconds: float) -> Answers:
        """Let so many clients ask for so long after a warm-up."""
        started_s = time.monotonic()
        for _ in range(many):
            self._connect()
        await asyncio.sleep(warm_s)
        self.seen.forget()
        began_s, cpu_s = time.monotonic(), time.process_time()
        print("begun", flush=True)
        await asyncio.sleep(seconds)
        self._over = True
        seen = self.seen
        return Answers(
            time.monotonic() - began_s,
            len(seen.answered),
            len(seen.refused),
            seen.failed,
            percentiles_ms(seen.answered),
            percentiles_ms(seen.refused),
            seen.first_s and seen.first_s - started_s,
            time.process_time() - cpu_s,
        )

    def request(self) -> bytes:
        """The next one."""
        return self._requests[next(self._numbers) % len(self._requests)]

    def left(self) -> None:
        """A connection has ended: open another one."""
        if not self._over:
            self._connect()

    def _connect(self) -> None:
        self._connecting = asyncio.ensure_future(self._connected())

    async def _connected(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: Client(self), self._host, self._port)
        except OSError:
            self.seen.failed += 1
            loop.call_later(_RECONNECT_S, self.left)


class Client(asyncio.Protocol):
    """One of them, on one connection."""

    def __init__(self, clients: Clients) -> None:
        self._clients, self._seen = clients, clients.seen
        self._received = b""
        self._is_waiting = False
        self._wait_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take what came of an answer; behind the whole of it, send the next request."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._received, self._is_waiting = b"", False
        self._wait_s = self._count(int(head[9:12]), head)
        if _CLOSE.search(head):
            self._transport.close()
        elif self._wait_s:
            asyncio.get_running_loop().call_later(self._wait_s, self._ask)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count a request without an answer, and open another connection."""
        self._seen.failed += self._is_waiting
        asyncio.get_running_loop().call_later(self._wait_s, self._clients.left)

    def _ask(self) -> None:
        if self._transport.is_closing():
            return
        self._is_waiting = True
        self._began_s = time.monotonic()
        self._transport.write(self._clients.request())

    def _count(self, status: int, head: bytes) -> float:
        """Count an answer; returns the seconds to wait."""
        now_s = time.monotonic()
        self._seen.first_s = self._seen.first_s or now_s
        if status == 200:
            self._seen.answered.append(now_s - self._began_s)
        elif status in (429, 503):
            self._seen.refused.append(now_s - self._began_s)
            told = _RETRY_AFTER.search(head)
            return float(told[1]) if told else 1.0
        else:
            self._seen.failed += 1
        return 0.0


def percentiles_ms(seconds: Sequence[float]) -> list[float | None]:
    """In milliseconds; None without any."""
    ordered = sorted(seconds)
    places = [min(len(ordered) - 1, len(ordered) * percent // 100) for percent in _PERCENTS]
    return [round(1000 * ordered[place], 2) if ordered else None for place in places]


def main() -> None:
    """Ask, and print what came."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("bodies", type=Path)
    parser.add_argument("--path", default="/v1/embeddings")
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--warm", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    given = parser.parse_args()
    clients = Clients(given.url, given.path, given.bodies.read_bytes().splitlines())
    print(json.dumps(asdict(uvloop.run(clients.ask(given.clients, given.warm, given.seconds)))))


if __name__ == "__main__":
    main()
