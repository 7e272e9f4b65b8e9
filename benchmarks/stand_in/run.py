"""One run with stand-in devices; prints one line of JSON, its rate and where the CPU went in its steady phase.

The steady phase begins with 40 % of the rows embedded, when all actors are at work, and ends with 90 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ray

import actors.run
import actors.session
from actors import crew, driver
from actors.machine.local import local_ray
from actors.scheduler.meter import Meter
from actors.scheduler.stages import CallKind
from actors.scheduler.worker import Worker
from benchmarks import million
from benchmarks.stand_in.decoder import StandInDecoder
from benchmarks.stand_in.device import DIM, IMAGES_PER_S, PASS_ROWS, StandInEmbedder
from benchmarks.stand_in.processes import cpu_by_role, cpu_of_threads
from pipeline.config import RunConfig, parse
from pipeline.stats import Stats

_BEGINS, _ENDS = 0.4, 0.9


@dataclass(frozen=True, slots=True)
class Moment:
    """Counts at one moment; those of CPU in seconds since the start."""

    at_s: float
    rows: int
    roles: Mapping[str, float]
    threads: Mapping[str, float]
    inside: Mapping[str, float]


@dataclass
class Timed:
    """CPU seconds of the main thread inside of some functions."""

    seconds: dict[str, float] = field(default_factory=dict)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, which adds its time to `name`."""

        def timed(*arguments: Any, **options: Any) -> Any:
            began_s = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.thread_time() - began_s

        return timed


class Method:
    """A method of an actor whose calls are timed."""

    def __init__(self, method: Any, timed: Timed) -> None:
        self.remote = timed.wrap("submit", method.remote)


def observed(rows: int, timed: Timed) -> tuple[type[Meter], list[Moment]]:
    """A meter class that notes the moments at which the steady phase begins and ends, and the list of those."""
    moments: list[Moment] = []

    class ObservingMeter(Meter):
        _embedded = 0

        def chunk_done(self, call: CallKind, rows_done: int, stats: Stats) -> None:
            super().chunk_done(call, rows_done, stats)
            if call == "embed":
                self._embedded += rows_done
                if len(moments) < 2 and self._embedded >= rows * (_BEGINS, _ENDS)[len(moments)]:
                    at_s = time.monotonic()  # before the counts of CPU, which take 20 ms
                    seen = cpu_by_role(), cpu_of_threads(), dict(timed.seconds)
                    moments.append(Moment(at_s, self._embedded, *seen))

    return ObservingMeter, moments


def configuration(table: Path, out: Path, devices: int) -> RunConfig:
    """As many decoders as devices."""
    return parse(
        {
            "source": {"uris": [str(table)], "image_column": "url", "drop_columns": ["text"]},
            "model": {"name": "demo"},
            "cluster": {"embedders": devices, "decoders": devices},
            "output": {"uri": str(out)},
        }
    )


def use_stand_ins(devices: int, side: int, meter: type[Meter], timed: Timed) -> None:
    """Put the stand-ins and the instruments into their places, for this whole process."""
    crew.Decoder, crew.Embedder = StandInDecoder, StandInEmbedder  # type: ignore[misc,assignment]
    actors.run.Meter = meter  # type: ignore[misc]
    here = replace(actors.session.local_resources(), gpus=float(devices))  # as if there were GPUs: Ray only counts them
    actors.session.local_resources = local_ray.local_resources = lambda: here
    resolve, method = actors.session.resolve, Worker.method
    actors.session.resolve = lambda config: replace(resolve(config), image_size=side, dim=DIM)
    Worker.method = lambda self, name: Method(method(self, name), timed)  # type: ignore[method-assign]
    ray.wait, ray.get = timed.wrap("wait", ray.wait), timed.wrap("get", ray.get)


def summary(begin: Moment, end: Moment) -> dict[str, Any]:
    """Rates, and CPU in milliseconds per batch of `PASS_ROWS` rows, between the moments."""
    seconds, batches = end.at_s - begin.at_s, (end.rows - begin.rows) / PASS_ROWS

    def per_batch(what: Callable[[Moment], Mapping[str, float]]) -> dict[str, float]:
        return {
            name: round(1000 * (value - what(begin).get(name, 0.0)) / batches, 3) for name, value in what(end).items()
        }

    return {
        "images_per_s": (end.rows - begin.rows) / seconds,
        "seconds": seconds,
        "cores_used": sum(end.roles.values()) / seconds - sum(begin.roles.values()) / seconds,
        "roles_ms": per_batch(lambda moment: moment.roles),
        "threads_ms": per_batch(lambda moment: moment.threads),
        "inside_ms": per_batch(lambda moment: moment.inside),
    }


def main() -> None:
    """Run, and fail if any record is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedders", type=int, default=1, help="number of devices")
    parser.add_argument("--side", type=int, default=16, help="images have this many pixels a side")
    parser.add_argument("--seconds", type=float, default=16, help="of work for the devices")
    parser.add_argument("--work", type=Path, required=True)
    given = parser.parse_args()
    rows, out, timed = round(given.embedders * IMAGES_PER_S * given.seconds), given.work / "out", Timed()
    table = million.url_table(given.work, rows)
    shutil.rmtree(out, ignore_errors=True)
    meter, moments = observed(rows, timed)
    use_stand_ins(given.embedders, given.side, meter, timed)
    done = driver.run(configuration(table, out, given.embedders))
    shutil.rmtree(out)
    if done.stats.embedded != rows:
        raise SystemExit(f"{done.stats.embedded} of {rows} rows were embedded: {done.message}")
    print(json.dumps(summary(*moments)))


if __name__ == "__main__":
    main()
