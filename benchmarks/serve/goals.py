"""What `hanclip serve` should reach under load."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.reporting import Goal, Row
from benchmarks.serve.bodies import KINDS

#: Clients at which throughput is compared, and those that are more than the server takes at once.
COMPARED, OVERLOADED = 64, 512
_SHED_MS = 100
_FIRST_MS = 1000


def goals(rows: list[Row]) -> Iterator[Goal]:
    """The goals of what was measured."""
    at = {(row["server"], row["kind"], row["clients"]): row for row in rows}
    for kind in KINDS:
        alone, together = (at[f"bare loop, {count} at once", kind, None] for count in (1, 16))
        if lone := at.get(("uvicorn", kind, 1)):
            yield Goal(f"{kind}: a lone request, times the bare call", lone["p50_ms"] / alone["p50_ms"], at_most=1.3)
        if many := at.get(("uvicorn", kind, COMPARED)):
            if kind == "image":  # a text is less work than HTTP
                share = many["requests_per_s"] / max(alone["requests_per_s"], together["requests_per_s"])
                yield Goal(f"images/s of {COMPARED} clients, share of the best bare loop", share, at_least=0.8)
            if plain := at.get(("plain FastAPI", kind, COMPARED)):
                share = many["requests_per_s"] / plain["requests_per_s"]
                yield Goal(f"{kind}: requests/s of {COMPARED} clients, times plain FastAPI", share, at_least=1.2)
        yield from _shed(kind, at)


def _shed(kind: str, at: dict[tuple[str, str, int | None], Row]) -> Iterator[Goal]:
    """How an overloaded server refuses, and what a client finds when the others have left."""
    for server in ("uvicorn", "Ray Serve"):
        overload, after = at.get((server, kind, OVERLOADED)), at.get((f"{server}, afterwards", kind, 1))
        if overload is None or after is None:
            continue
        yield Goal(f"{kind}: broken or wrong answers of {server}", overload["failed"], at_most=0)
        if overload["refused"] and server == "uvicorn":  # HAProxy makes clients wait before it hands them over
            yield Goal(f"{kind}: ms until a request is refused, 99 %", overload["refused_p99_ms"], at_most=_SHED_MS)
        yield Goal(f"{kind}: ms until the first answer of {server} afterwards", after["first_ms"], at_most=_FIRST_MS)
