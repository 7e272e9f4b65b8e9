"""Throughput, latency, shedding and memory of `hanclip serve` under load, beside a bare loop and plain FastAPI.

python -m benchmarks.serve
python -m benchmarks.serve --shape vit-b-16 --clients 1 8 64 --seconds 20 --hosts uvicorn   # random weights

Clients and server share the cores, and all servers use all of them, in fp32. The bare loop embeds one request at a
time, at once and after a pause in which the cores go idle, as they do before a lone request, and in passes of 16; plain
FastAPI joins nothing, and once answers a constant: the least that HTTP adds to a lone
request. CPU is that of all processes of a server; the clients' own is beside it, so what they take from the server is
known.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from actors.machine.idle_threads import SERVER_SPINS, let_idle_threads_sleep
from actors.serving.application import divided
from benchmarks.child import measure
from benchmarks.cpu_time import make_meter
from benchmarks.embed import checkpoint
from benchmarks.reporting import Row, markdown, save
from benchmarks.serve.bodies import KINDS, written
from benchmarks.serve.flood import flood
from benchmarks.serve.goals import (
    ALONE,
    ALONE_AND_IDLE,
    CONSTANT,
    JOINED,
    OVERLOADED,
    RECOVERY_S,
    afterwards,
    goals,
    ratios,
)
from benchmarks.serve.hosts import Load, Running, ask, running
from pipeline.serving.settings import ServedModel, ThreadCounts

_CLIENTS = (1, 8, 64, OVERLOADED)
#: Options of the bare loops.
_LOOPS = {
    ALONE: ["--rows", "1"],
    ALONE_AND_IDLE: ["--rows", "1", "--pause-ms", "2"],
    JOINED: ["--rows", "16"],
}


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--shape", choices=("vit-b-16",), help="random weights of this shape in place of a model")
    parser.add_argument("--clients", type=int, nargs="+", default=_CLIENTS)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--hosts", nargs="+", choices=["uvicorn", "Ray Serve", "plain FastAPI"])
    given = parser.parse_args()
    let_idle_threads_sleep(SERVER_SPINS)  # for all servers, as for hanclip's
    load_before, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        model = checkpoint(given.shape, Path(folder)) if given.shape else given.model
        hosts = commands(model, cores)
        decoding, _ = divided(ThreadCounts(), ServedModel(name=model), cores)
        bodies = written(Path(folder))
        rows = [bare(name, kind, model, bodies[kind], given.seconds) for kind in KINDS for name in _LOOPS]
        for name in given.hosts or hosts:
            with running(hosts[name]) as server:
                rows += under_load(name, server, bodies, given.clients, given.seconds)
                if name == "plain FastAPI":
                    nothing = Load(bodies["text"], 1, given.seconds, path="/constant")
                    rows.append(measured(CONSTANT, "text", server, nothing))
        flooded, bounded = flood(hosts["uvicorn"], bodies, 2 * given.seconds, decoding)
    reached, compared = [*goals(rows), bounded], ratios(rows)
    print(f"\n{markdown(compared)}")
    save(
        f"serve-{given.shape or given.model}",
        load_before,
        reached,
        rows,
        ratios=compared,
        flood=flooded,
        cpu_method=make_meter().method,
    )


def commands(model: str, cores: int) -> dict[str, list[str]]:
    """The servers."""
    options = ["--model", model, "--threads", str(cores)]
    return {
        "uvicorn": ["-m", "flows.cli", "serve", "--model", model, "--port", "0", "--json"],
        "Ray Serve": ["-m", "benchmarks.serve.cluster", *options],
        "plain FastAPI": ["-m", "benchmarks.serve.plain", *options],
    }


def bare(name: str, kind: str, model: str, bodies: Path, seconds: float) -> Row:
    """The row of a bare loop with all cores."""
    options = ["--model", model, "--threads", str(len(os.sched_getaffinity(0))), "--seconds", str(seconds)]
    found = json.loads(measure("-m", "benchmarks.serve.bare", str(bodies), *options, *_LOOPS[name]).printed)
    return row(name, kind) | {
        "requests_per_s": round(found["per_s"], 1),
        "p50_ms": round(found["p50_ms"], 2),
        "cpu_ms": round(found["cpu_ms"], 2),
    }


def under_load(name: str, server: Running, bodies: Mapping[str, Path], clients: list[int], seconds: float) -> list[Row]:
    """The rows of a server: for each number of clients, and after the last for one that asks when they have left."""
    found = []
    for kind in KINDS:
        for many in clients:
            found.append(measured(name, kind, server, Load(bodies[kind], many, seconds)))
            print(found[-1], flush=True)
        found.append(measured(afterwards(name), kind, server, Load(bodies[kind], 1, RECOVERY_S, 0)))
        print(found[-1], flush=True)
    return found


def measured(name: str, kind: str, server: Running, load: Load) -> Row:
    """The row of some clients."""
    seen, cpu_s = ask(server, load)
    answered = seen["answered"]
    made = row(name, kind) | {"clients": load.clients, "requests_per_s": round(answered / seen["seconds"], 1)}
    made |= {f"p{percent}_ms": found for percent, found in zip((50, 95, 99), seen["answered_ms"], strict=True)}
    if answered:
        made |= {
            "cpu_ms": round(1000 * cpu_s / answered, 2),
            "clients_cpu_ms": round(1000 * seen["cpu_s"] / answered, 2),
        }
    return made | {
        "first_ms": round(1000 * seen["first_s"]) if seen["first_s"] else None,
        "refused": seen["refused"],
        "refused_p99_ms": seen["refused_ms"][2],
        "failed": seen["failed"],
    }


def row(name: str, kind: str) -> Row:
    """A row without measures; `cpu_ms` are those of an answered request."""
    measures = ("clients", "requests_per_s", "p50_ms", "p95_ms", "p99_ms", "cpu_ms", "clients_cpu_ms")
    return {"server": name, "kind": kind} | dict.fromkeys(
        (*measures, "first_ms", "refused", "refused_p99_ms", "failed")
    )


if __name__ == "__main__":
    main()
