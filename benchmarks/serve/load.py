"""Many clients of one server, in a process of their own: each sends a request, waits for the answer, sends the next.

python -m benchmarks.serve.load http://127.0.0.1:8000 bodies --clients 64 --warm 1 --seconds 5

`bodies` is a file with a body in each line. Prints `begun` when the warm-up ends, and then `Answers` as JSON. Requests
that are still open at the end are given up, as by clients that leave. HTTP is written by hand: a client library would
take more of the machine's time than the server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

_PERCENTS = (50, 95, 99)


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
        self._answered: list[float] = []
        self._refused: list[float] = []
        self._failed = 0
        self._first_s: float | None = None

    async def ask(self, many: int, warm_s: float, seconds: float) -> Answers:
        """Let so many clients ask for so long after a warm-up."""
        self._started_s = time.monotonic()
        clients = [asyncio.create_task(self._client()) for _ in range(many)]
        await asyncio.sleep(warm_s)
        self._answered, self._refused, self._failed = [], [], 0
        began_s, cpu_s = time.monotonic(), time.process_time()
        print("begun", flush=True)
        await asyncio.sleep(seconds)
        found = Answers(
            time.monotonic() - began_s,
            len(self._answered),
            len(self._refused),
            self._failed,
            percentiles_ms(self._answered),
            percentiles_ms(self._refused),
            self._first_s,
            time.process_time() - cpu_s,
        )
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return found

    async def _client(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                self._failed += 1
                await asyncio.sleep(0.1)
                continue
            try:
                while await self._asked(reader, writer):
                    pass
            except (OSError, EOFError):
                self._failed += 1
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Send one request and read its answer; whether the connection stays open."""
        began_s = time.monotonic()
        writer.write(self._requests[next(self._numbers) % len(self._requests)])
        status, headers = await _answer(reader)
        now_s = time.monotonic()
        self._first_s = self._first_s or now_s - self._started_s
        if status == 200:
            self._answered.append(now_s - began_s)
        elif status in (429, 503):
            self._refused.append(now_s - began_s)
            await asyncio.sleep(float(headers.get(b"retry-after", b"1")))
        else:
            self._failed += 1
        return headers.get(b"connection") != b"close"


def percentiles_ms(seconds: Sequence[float]) -> list[float | None]:
    """In milliseconds; None without any."""
    ordered = sorted(seconds)
    places = [min(len(ordered) - 1, len(ordered) * percent // 100) for percent in _PERCENTS]
    return [round(1000 * ordered[place], 2) if ordered else None for place in places]


async def _answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    """Read one answer: its status and headers."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.lower().rstrip().split(b"\r\n")
    pairs = (line.partition(b":") for line in lines)
    headers = {name: value.strip() for name, _, value in pairs}
    await reader.readexactly(int(headers.get(b"content-length", b"0")))
    return int(first.split()[1]), headers


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
    print(json.dumps(asdict(asyncio.run(clients.ask(given.clients, given.warm, given.seconds)))))


if __name__ == "__main__":
    main()
