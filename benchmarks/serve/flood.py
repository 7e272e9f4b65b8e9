"""Memory of `hanclip serve` while many clients send it images of 50 million pixels, and a text meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.reporting import Goal, Row
from benchmarks.serve.hosts import Load, ask, running, started

_CLIENTS = 64
_MIB_PER_PIXEL = 20 / 2**20
_PIXELS = 50_000_000
#: Of the requests themselves: their bodies, the parsed text and the encoded images.
_REQUESTS_MIB = 150


def flood(command: list[str], bodies: dict[str, Path], seconds: float, decode_threads: int) -> tuple[Row, Goal]:
    """What it took, and the goal: no more than `docs/serve.md` says."""
    with running(command) as server:
        ask(server, Load(bodies["image"], 1, 1.0))
        idle_mib = server.peak_mib()
        with started(server, Load(bodies["large image"], _CLIENTS, seconds)) as flooding:
            texts, _ = ask(server, Load(bodies["text"], 1, seconds))
            assert flooding.stdout
            flooding.stdout.readline()
            large = json.loads(flooding.stdout.readline())
        peak_mib = server.peak_mib()
    row = {
        "clients": _CLIENTS,
        "idle_mib": idle_mib,
        "peak_mib": peak_mib,
        **{name: large[name] for name in ("answered", "refused", "failed")},
        "text_p50_ms": texts["answered_ms"][0],
        "text_p99_ms": texts["answered_ms"][2],
    }
    bound_mib = round(decode_threads * _PIXELS * _MIB_PER_PIXEL + _REQUESTS_MIB)
    return row, Goal("MiB of large images, 20 bytes a pixel for each thread", peak_mib - idle_mib, bound_mib)
