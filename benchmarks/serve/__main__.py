"""Throughput and latency of `hanclip serve` under load, beside a bare loop and a plain FastAPI server.

python -m benchmarks.serve
python -m benchmarks.serve --model vit-b-16 --clients 1 8 --seconds 20

Clients and server share the machine. All use fp32 and all cores. The bare loop embeds one request at a time, and in
passes of the server's size; the plain server joins nothing. CPU is that of the server's process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.child import measure
from benchmarks.cpu_time import CpuMeter, make_meter
from benchmarks.reporting import Goal, Row, save
from benchmarks.serve.bodies import KINDS, bodies
from benchmarks.serve.load import load

_CLIENTS = [1, 8, 64, 512]
_COMPARED = 64
_ROWS = (1, 16)
_WARM_S = 1.0


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--clients", type=int, nargs="+", default=_CLIENTS)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as hanclip sets it, for all
    load_before, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    rows = [bare(given.model, cores, kind, count, given.seconds) for kind in KINDS for count in _ROWS]
    own = ["-m", "flows.cli", "serve", "--model", given.model, "--port", "0", "--json"]
    plain = ["-m", "benchmarks.serve.plain", "--model", given.model, "--threads", str(cores)]
    for name, command in (("hanclip serve", own), ("plain FastAPI", plain)):
        rows += under_load(name, command, given.clients, given.seconds)
    save(f"serve-{given.model}", load_before, list(goals(rows)), rows, cpu_method=make_meter().method)


def bare(model: str, cores: int, kind: str, rows: int, seconds: float) -> Row:
    """The row of a bare loop."""
    options = ["--model", model, "--threads", str(cores), "--kind", kind, "--rows", str(rows)]
    printed = measure("-m", "benchmarks.serve.bare", *options, "--seconds", str(seconds)).printed
    return row(f"bare loop, {rows} at once", kind, None, float(printed))


def under_load(name: str, command: list[str], clients: list[int], seconds: float) -> list[Row]:
    """The rows of a server."""
    found = []
    with running(command) as (url, process, meter):
        for kind in KINDS:
            asked = bodies(kind)
            load(url, asked, min(clients), _WARM_S)
            for many in clients:
                before_s = meter.seconds(process)
                answers = load(url, asked, many, seconds)
                cpu_s, answered = meter.seconds(process) - before_s, len(answers.seconds)
                found.append(
                    row(name, kind, many, answered / seconds)
                    | {f"p{percent}_ms": answers.percentile_ms(percent) for percent in (50, 95, 99)}
                    | {"cpu_ms_per_request": round(1000 * cpu_s / answered, 2) if answered else None}
                    | {"refused": answers.refused, "failed": answers.failed}
                )
                print(found[-1], flush=True)
    return found


def row(name: str, kind: str, clients: int | None, per_s: float) -> Row:
    """A row with throughput alone."""
    measures = ("p50_ms", "p95_ms", "p99_ms", "cpu_ms_per_request", "refused", "failed")
    return {"server": name, "kind": kind, "clients": clients, "requests_per_s": round(per_s, 1)} | dict.fromkeys(
        measures
    )


@contextmanager
def running(command: list[str]) -> Iterator[tuple[str, int, CpuMeter]]:
    """A server's URL, its process, and the meter of its CPU time."""
    meter = make_meter()
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=meter.join,  # before it starts threads
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield json.loads(line)["url"] if line.startswith("{") else line.strip(), process.pid, meter
        finally:
            process.terminate()
            process.wait(60)
    meter.close()


def goals(rows: list[Row]) -> Iterator[Goal]:
    """What joining requests should give, where both were measured."""
    at = {(row["server"], row["kind"], row["clients"]): row["requests_per_s"] for row in rows}
    for kind in KINDS:
        served, plain = at.get(("hanclip serve", kind, _COMPARED)), at.get(("plain FastAPI", kind, _COMPARED))
        if served and plain:
            yield Goal(f"{kind}s/s of {_COMPARED} clients, share of plain FastAPI", served / plain, at_least=1.2)
            together = at["bare loop, 16 at once", kind, None]
            yield Goal(f"{kind}s/s of {_COMPARED} clients, share of the bare loop", served / together, at_least=0.6)


if __name__ == "__main__":
    main()
