"""CPU per image and per text with `--exact` and without it, and how many vectors then depend on what shares their pass.

    python -m benchmarks.exact                                          # the demo model
    python -m benchmarks.exact --shape vit-b-16 --count 70 --rounds 1   # the base model's shape, random weights

Images and captions are those of the demo catalog, decoded beforehand, in requests of 64 and of 1. Each way has a
process of its own, in turns, with all cores and in float32; CPU is that of the process while it encodes. Bits are
compared with those of requests of 64, which are made once more in the opposite order. The last of them is smaller, as
the last pass of a shard is.
"""

from __future__ import annotations

import argparse
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from actors.machine.idle_threads import let_idle_threads_sleep
from benchmarks.child import measure
from benchmarks.embed import checkpoint
from benchmarks.reporting import Goal, Row, save
from pipeline.errors import ImageError
from pipeline.images.decode import decode

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip

Vectors = npt.NDArray[np.float32]

_CATALOG = Path(__file__).parents[1] / "demo" / "catalog"
_WAYS, _REQUEST = ("usual", "exact"), 64
_MOST_PIXELS = 50_000_000


def members(suffixes: tuple[str, ...]) -> Iterator[bytes]:
    """The catalog's files with one of these suffixes."""
    for path in sorted(_CATALOG.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(suffixes) and (file := tar.extractfile(member)):
                    yield file.read()


def pictures(count: int, side: int) -> npt.NDArray[np.uint8]:
    """(count, side, side, 3) pixels of the catalog's images, repeated if there are fewer."""
    found: list[npt.NDArray[np.uint8]] = []
    for data in members((".png", ".webp", ".jpg")):
        try:
            found.append(decode(data, side, _MOST_PIXELS).pixels)
        except ImageError:  # the catalog holds damaged ones
            continue
        if len(found) == count:
            break
    return np.stack([found[place % len(found)] for place in range(count)])


def captions(count: int) -> list[str]:
    """As many captions of the catalog that are not blank, repeated if there are fewer."""
    found = [text for data in members((".txt",)) if (text := data.decode(errors="replace")).strip()]
    return [found[place % len(found)] for place in range(count)]


def encoded(clip: ChineseClip, rows: Any, size: int) -> Vectors:
    """The vectors of `rows`, in requests of `size`."""
    encode: Any = clip.encode_texts if isinstance(rows, list) else clip.encode_images
    return np.concatenate([encode(rows[start : start + size]) for start in range(0, len(rows), size)])


def measured(clip: ChineseClip, rows: Any) -> Iterator[Row]:
    """A row of the table for each size of requests."""
    encoded(clip, rows[:_REQUEST], _REQUEST)  # what torch prepares once
    together = encoded(clip, rows, _REQUEST)
    backwards = rows[::-1] if isinstance(rows, list) else np.ascontiguousarray(rows[::-1])
    for size in (_REQUEST, 1):
        began_s, cpu_s = time.monotonic(), time.process_time()
        other = encoded(clip, backwards, size)[::-1]
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - began_s
        yield {
            "kind": "texts" if isinstance(rows, list) else "images",
            "in_a_request": size,
            "cpu_ms": 1000 * cpu_s / len(rows),
            "wall_ms": 1000 * wall_s / len(rows),
            "other_bits": int((other != together).any(axis=1).sum()),
            "largest_difference": float(np.abs(other - together).max()),
        }


def measure_here(way: str, model: str, count: int) -> list[Row]:
    """The rows of one way, measured in this process."""
    let_idle_threads_sleep()  # as in embedders
    from pipeline.config import ModelConfig
    from pipeline.model.checkpoints import resolve
    from pipeline.model.chinese_clip import ChineseClip, Tuning
    from pipeline.model.hardware import set_threads

    set_threads(len(os.sched_getaffinity(0)))
    spec = resolve(ModelConfig(name=model))
    clip = ChineseClip.load(spec, "fp32", "cpu", tuning=Tuning(exact=way == "exact"))
    return [*measured(clip, pictures(count, spec.image_size)), *measured(clip, captions(count))]


def table(rounds: list[dict[str, list[Row]]]) -> list[Row]:
    """One row for each kind and size of requests: medians of the rounds, of both ways."""
    rows = []
    for number, first in enumerate(rounds[0][_WAYS[0]]):
        row: Row = {name: first[name] for name in ("kind", "in_a_request")}
        for value in ("cpu_ms", "wall_ms"):
            for way in _WAYS:
                row[f"{way}_{value}"] = round(median(one[way][number][value] for one in rounds), 2)
        row["cpu_exact_by_usual"] = round(row["exact_cpu_ms"] / row["usual_cpu_ms"], 2)
        for way in _WAYS:
            row[f"{way}_other_bits"] = max(one[way][number]["other_bits"] for one in rounds)
        rows.append(row)
    return rows


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=("vit-b-16",), help="random weights of this shape; the demo if not given")
    parser.add_argument("--count", type=int, default=500, help="images, and texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "hanclip-benchmarks")
    parser.add_argument("--way", nargs=2, metavar=("WAY", "MODEL"), help="measure one way and print it as JSON")
    given = parser.parse_args()
    if given.way:
        print(json.dumps(measure_here(*given.way, given.count)))
        return
    load = os.getloadavg()[0]
    given.work.mkdir(parents=True, exist_ok=True)
    model = checkpoint(given.shape, given.work) if given.shape else "demo"
    rounds = []
    for number in range(given.rounds):
        rounds.append({way: _child(way, model, given.count) for way in _WAYS})
        print(f"round {number + 1} {json.dumps(rounds[-1])}", flush=True)
    rows = table(rounds)
    goal = Goal("vectors with other bits, exact", sum(row["exact_other_bits"] for row in rows), at_most=0)
    save(f"exact-{given.shape or 'demo'}", load, [goal], rows, rounds=rounds, count=given.count)


def _child(way: str, model: str, count: int) -> list[Row]:
    found: list[Row] = json.loads(
        measure("-m", "benchmarks.exact", "--way", way, model, "--count", str(count)).printed.splitlines()[-1]
    )
    return found


if __name__ == "__main__":
    main()
