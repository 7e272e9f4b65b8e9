"""Requests, seconds and processor time of listing a bucket: one walk against `list_objects`, by layout of the keys.

    python -m benchmarks.listing                       # 10^5 keys, 50 ms for each answer
    python -m benchmarks.listing --keys 20000 --latency-ms 20

The server is the test suite's, in a process of its own; each answer waits for the latency, so that requests cost what
they cost in a cloud. It runs on the same cores: seconds are upper bounds, requests are exact.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from benchmarks.reporting import Goal, Row, markdown, save
from pipeline import storage
from pipeline.storage.backends.s3_requests import list_page
from tests.fixtures.servers.odd_bucket import OddBucket

_TIMEOUT_S = 30.0


def keys(layout: str, count: int) -> Iterator[str]:
    """Keys of images."""
    dice = random.Random(7)
    for number in range(count):
        yield {
            "numbers": f"in/{number:09}.jpg",
            "hashes": f"in/{dice.getrandbits(128):032x}.jpg",
            "days": f"in/2026-{1 + number % 12:02}-{1 + number % 28:02}/{number:09}.jpg",
            "folders of 100": f"in/{number // 100:07}/{number % 100:02}.jpg",
        }[layout]


LAYOUTS = ("numbers", "hashes", "days", "folders of 100")


def serve(layout: str, count: int, latency_s: float, pipe: Connection) -> None:
    """Serve the keys; sends the environment of clients, and the number of requests since the last question for each."""
    bucket = OddBucket(dict.fromkeys(keys(layout, count), b""), latency_s=latency_s)
    bucket.start()
    pipe.send(bucket.env)
    while pipe.recv():
        pipe.send(len(bucket.requests))
        bucket.requests.clear()


def one_walk() -> int:
    """Each page is asked for when the one before it has arrived."""
    found, token = 0, ""
    while True:
        page, token = list_page("odd", "in/", "", token, _TIMEOUT_S)
        found += len(page)
        if not token:
            return found


def in_parallel() -> int:
    """As a source is listed."""
    return sum(1 for _ in storage.list_objects("s3://odd/in"))


VARIANTS: dict[str, Callable[[], int]] = {"one walk": one_walk, "list_objects": in_parallel}


def measure(layout: str, count: int, latency_s: float) -> list[Row]:
    """One row for each variant."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(layout, count, latency_s, theirs))
    server.start()
    os.environ.update(ours.recv())
    rows = []
    for variant, listing in VARIANTS.items():
        began, cpu = time.perf_counter(), time.process_time()
        found = listing()
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
        ours.send(True)
        rows.append(
            {
                "keys": layout,
                "variant": variant,
                "found": found,
                "requests": ours.recv(),
                "seconds": round(seconds, 2),
                "keys_per_s": round(found / seconds),
                "cpu_us_per_key": round(cpu_s / found * 1e6, 1),
            }
        )
    ours.send(False)
    server.join()
    return rows


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [row for layout in LAYOUTS for row in measure(layout, options.keys, options.latency_ms / 1000)]
    walks, ours = rows[::2], rows[1::2]
    most = max(own["requests"] / walk["requests"] for walk, own in zip(walks, ours, strict=True))
    least = min(walk["seconds"] / own["seconds"] for walk, own in zip(walks, ours, strict=True))
    goals = [
        Goal("requests, compared with one walk", most, at_most=2),
        Goal("speed, compared with one walk", least, at_least=3),
        Goal("keys missed or doubled", sum(abs(row["found"] - options.keys) for row in rows), at_most=0),
    ]
    print(markdown(rows))
    print(*goals, sep="\n")
    save("listing", load, goals, rows)


if __name__ == "__main__":
    main()
