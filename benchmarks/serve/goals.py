"""What `hanclip serve` should reach under load."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.reporting import Goal, Row
from benchmarks.serve.bodies import KINDS

#: Clients at which throughput is compared, and those that are more than the server takes at once.
COMPARED, OVERLOADED = 64, 512
#: The row of plain FastAPI that embeds nothing.
CONSTANT = "plain FastAPI, a constant"
#: Rows of the bare loop.
ALONE, ALONE_AND_IDLE, JOINED = "bare loop, 1 at once", "bare loop, 1 at once after a pause", "bare loop, 16 at once"
#: A client that comes when the others have left asks for so long.
RECOVERY_S = 5.0
_SHED_MS = 100
_FIRST_MS = 1000


_At = dict[tuple[str, str, int | None], Row]


def ratios(rows: list[Row]) -> list[Row]:
    """What servers have in common, side by side: a line for each server and kind of request."""
    at = _by_place(rows)
    names = dict.fromkeys(row["server"] for row in rows)
    servers = [name for name in names if (afterwards(name), KINDS[0], 1) in at]
    found = [_ratios(server, kind, at) for server in servers for kind in KINDS]
    if nothing := at.get((CONSTANT, "text", 1)):
        floor = 1 + nothing["p50_ms"] / at[ALONE, "text", None]["p50_ms"]
        found.append(dict.fromkeys(found[0]) | {"server": CONSTANT, "kind": "text", "lone_times_bare": round(floor, 2)})
    return found


def _ratios(server: str, kind: str, at: _At) -> Row:
    alone, idle = (at[loop, kind, None]["p50_ms"] for loop in (ALONE, ALONE_AND_IDLE))
    lone, many, overload = (at.get((server, kind, clients)) for clients in (1, COMPARED, OVERLOADED))
    after = at.get((afterwards(server), kind, 1))
    return {
        "server": server,
        "kind": kind,
        "lone_times_bare": lone and round(lone["p50_ms"] / alone, 2),
        "lone_times_bare_after_a_pause": lone and round(lone["p50_ms"] / idle, 2),
        f"share_of_bare_{COMPARED}": many and round(many["requests_per_s"] / _most_per_s(kind, at), 2),
        "refused_p99_ms": overload and overload["refused_p99_ms"],
        "failed": overload and overload["failed"],
        "first_ms_afterwards": after and after["first_ms"],
    }


def afterwards(server: str) -> str:
    """Name of its row for a client that asks when the others have left."""
    return f"{server}, afterwards"


def _most_per_s(kind: str, at: _At) -> float:
    """The most requests a second of the bare loops."""
    return max(float(at[loop, kind, None]["requests_per_s"]) for loop in (ALONE, JOINED))


def _by_place(rows: list[Row]) -> _At:
    return {(row["server"], row["kind"], row["clients"]): row for row in rows}


def goals(rows: list[Row]) -> Iterator[Goal]:
    """The goals of what was measured."""
    at = _by_place(rows)
    for kind in KINDS:
        if lone := at.get(("uvicorn", kind, 1)):
            for loop, when in ((ALONE, "the bare call"), (ALONE_AND_IDLE, "the bare call after a pause")):
                times = lone["p50_ms"] / at[loop, kind, None]["p50_ms"]
                yield Goal(f"{kind}: a lone request, times {when}", times, at_most=1.3)
        if many := at.get(("uvicorn", kind, COMPARED)):
            if kind == "image":  # a text is less work than HTTP
                share = many["requests_per_s"] / _most_per_s(kind, at)
                yield Goal(f"images/s of {COMPARED} clients, share of the best bare loop", share, at_least=0.8)
            if plain := at.get(("plain FastAPI", kind, COMPARED)):
                share = many["requests_per_s"] / plain["requests_per_s"]
                yield Goal(f"{kind}: requests/s of {COMPARED} clients, times plain FastAPI", share, at_least=1.2)
        yield from _shed(kind, at)


def _shed(kind: str, at: _At) -> Iterator[Goal]:
    """How an overloaded server refuses, and what a client finds when the others have left."""
    for server in ("uvicorn", "Ray Serve"):
        overload, after = at.get((server, kind, OVERLOADED)), at.get((afterwards(server), kind, 1))
        if overload is None or after is None:
            continue
        yield Goal(f"{kind}: broken or wrong answers of {server}", overload["failed"], at_most=0)
        if overload["refused"]:
            what = f"{kind}: ms until {server} refuses a request, 99 %"
            yield Goal(what, overload["refused_p99_ms"], at_most=_SHED_MS)
        first_ms = after["first_ms"] or 1000 * RECOVERY_S
        yield Goal(f"{kind}: ms until the first answer of {server} afterwards", first_ms, at_most=_FIRST_MS)
