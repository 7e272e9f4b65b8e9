"""Times decoding against the bare loop's, for the same JPEG in the same process, and what a decoder does besides.

    python -m benchmarks.decode

Calls alternate, each is timed in CPU time, and the smallest time counts: on a shared machine the others measure the
neighbours. `bare` opens, decodes and resizes with Pillow; `decode` is `pipeline.images.decode`, hashes and limits
included. The other columns are parts of it.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from benchmarks.images import QUALITY, photo_like
from benchmarks.reporting import Goal, Row, save
from pipeline.images.decode import decode
from pipeline.images.jpeg import fast_decoder
from pipeline.images.measures.phash import phash
from pipeline.images.resizing.squash import kernels_for, squashed, started_kernels

_SIDE = 224
_SIZES = {(640, 480): 0.55, (800, 800): 0.55, (1600, 1200): 0.6}
_MAX_PIXELS = 10**8


def smallest_ms(works: dict[str, Callable[[], object]], turns: int) -> dict[str, float]:
    """The smallest CPU time of each piece of work, in turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            began_s = time.thread_time()
            work()
            times[name].append(time.thread_time() - began_s)
    return {name: round(1000 * min(found), 3) for name, found in times.items()}


def measured(width: int, height: int, turns: int) -> Row:
    """One row of the table."""
    file = io.BytesIO()
    photo_like(1, width, height).save(file, "JPEG", quality=QUALITY, subsampling=2)
    data = file.getvalue()
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    pixels = decode(data, _SIDE, _MAX_PIXELS).pixels

    def bare() -> object:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))

    def hanclips() -> object:
        image = decode(data, _SIDE, _MAX_PIXELS)
        return image.phash(), image.pixels_xxh128(), image.blank_rows()

    times = smallest_ms(
        {
            "bare": bare,
            "decode": hanclips,
            "load": lambda: Image.open(io.BytesIO(data)).load(),
            "pillow_resize": lambda: loaded.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC),
            "resize": lambda: squashed(loaded, _SIDE, kernels_for(width, height, _SIDE)),
            "phash": lambda: phash(pixels),
            "sha256": lambda: hashlib.sha256(data).hexdigest(),
        },
        turns,
    )
    row: Row = {"picture": f"{width} x {height}", "kb": len(data) // 1000}
    row |= {f"{name}_ms": value for name, value in times.items()}
    return {**row, "decode_by_bare": round(times["decode"] / times["bare"], 3)}


def main() -> None:
    """Measure, and store the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=200)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    began_s = time.process_time()
    if started_kernels() is None or fast_decoder() is None:
        raise SystemExit("the fast code cannot be used here: install the extra fast")
    start_ms = round(1000 * (time.process_time() - began_s), 1)
    kernels_for(2000, 2000, _SIDE)  # enough pixels for the kernels to start
    rows = [measured(width, height, given.turns) for width, height in _SIZES]
    goals = [
        Goal(f"decode / bare, {row['picture']}", row["decode_by_bare"], at_most=bound)
        for row, bound in zip(rows, _SIZES.values(), strict=True)
    ]
    save("decode", load, goals, rows, kernels_start_ms=start_ms)


if __name__ == "__main__":
    main()
