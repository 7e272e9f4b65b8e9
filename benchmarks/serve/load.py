"""Many clients of one server: each sends a request, waits for the answer, and sends the next one.

They write HTTP by hand: a client library would take more of the machine's time than the server.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

_AGAIN_S = 1.0


@dataclass
class Answers:
    """What the clients saw.

    Attributes:
        seconds: of each request that was answered with 200.
        refused: answers 429 and 503, after which a client waits for a second.
        failed: any others.
    """

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0

    def percentile_ms(self, percent: float) -> float | None:
        """Of the answered requests, in milliseconds."""
        if not self.seconds:
            return None
        return round(1000 * sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))], 1)


def load(url: str, bodies: list[bytes], clients: int, seconds: float) -> Answers:
    """Let `clients` ask for so long."""
    answers, numbers = Answers(), count()

    async def client() -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while time.monotonic() < end_s:
            began_s = time.monotonic()
            body = bodies[next(numbers) % len(bodies)]
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {parts.hostname}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            status = await _answer(reader)
            if status == 200:
                answers.seconds.append(time.monotonic() - began_s)
            elif status in (429, 503):
                answers.refused += 1
                await asyncio.sleep(_AGAIN_S)
            else:
                answers.failed += 1
        writer.close()

    async def all_of_them() -> None:
        await asyncio.gather(*(client() for _ in range(clients)))

    end_s = time.monotonic() + seconds
    asyncio.run(all_of_them())
    return answers


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(lines[0].split()[1])
