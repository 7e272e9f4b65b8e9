"""Compares hanclip's pixels with Pillow's own resize, byte by byte, and reasons for damaged files with Pillow's.

    python -m benchmarks.pixels --pictures 100000 --damaged 20000

Pictures have sides of 1 to 4,000 pixels, so ratios up to 4,000, and are JPEGs of all kinds, PNGs, WebPs and TIFFs in
RGB, grey and CMYK. The reference is one call of Pillow's `resize`, which chooses the order of its passes itself, so it
needs Pillow 13. Damaged files are such pictures with bytes changed, left out, repeated, zeroed or cut off.

It may be done in parts, each with its own `--seed` and all but the first with `--add`.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.images import photo_like
from benchmarks.reporting import Goal, save, stored
from pipeline.errors import ImageError
from pipeline.images.decode import decode
from pipeline.images.jpeg import fast_decoder
from pipeline.images.opening import opened
from pipeline.images.plain import plain
from pipeline.images.resizing.squash import started_kernels

_MAX_PIXELS = 10**8
_SIDES = (16, 17, 33, 64, 64, 96, 224)
#: Most pictures are small, since the code knows sizes only by rows and vectors; one in a hundred may be large.
_AREA, _LARGE_AREA = 60_000, 4_000_000
_SHOWN = 5

Outcome = tuple[Any, ...]


class Pictures:
    """Random encoded pictures, cut out of a large one of `tiles` x 1,000 pixels a side."""

    def __init__(self, seed: int, tiles: int = 4) -> None:
        self.random = random.Random(seed)
        self._longest = tiles * 1000
        photo = np.tile(np.asarray(photo_like(seed, 1000, 1000)), (tiles, tiles, 1))
        noise = np.random.default_rng(seed).integers(0, 256, photo.shape, dtype=np.uint8)
        self._sheets = {"photo": photo, "noise": noise, "lines": np.where(noise > 127, np.uint8(255), np.uint8(0))}

    def size(self) -> tuple[int, int]:
        """Width and height."""
        area = _LARGE_AREA if self.random.random() < 0.01 else _AREA
        while True:
            width, height = (int(self._longest ** self.random.random()) for _ in range(2))
            if width * height <= area:
                return width, height

    def make(self) -> tuple[str, bytes]:
        """A kind of picture and its bytes."""
        width, height = self.size()
        sheet = self.random.choice(list(self._sheets))
        left, top = (self.random.randint(0, self._longest - side) for side in (width, height))
        image = Image.fromarray(self._sheets[sheet][top : top + height, left : left + width])
        mode = self.random.choices(("RGB", "L", "CMYK"), (8, 2, 1))[0]
        kinds: list[tuple[str, dict[str, Any]]] = [("JPEG", self._jpeg())] * 6
        kinds += [("TIFF", {}), ("PNG", {"compress_level": 1}), ("WEBP", {"lossless": True, "method": 0})]
        name, options = self.random.choice(kinds[:7] if mode == "CMYK" else kinds)
        file = io.BytesIO()
        try:
            image.convert(mode).save(file, name, **options)
        except OSError:  # Pillow's buffer is too small for some progressive noise
            return self.make()
        return f"{mode} {name}", file.getvalue()

    def _jpeg(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "quality": self.random.randint(20, 100),
            "subsampling": self.random.randint(0, 2),
            "progressive": self.random.random() < 0.3,
        }
        if self.random.random() < 0.2:
            options["restart_marker_blocks"] = self.random.randint(1, 20)
        return options

    def damaged(self) -> tuple[str, bytes]:
        """A picture with one to three faults."""
        kind, data = self.make()
        spoilt = bytearray(data)
        for _ in range(self.random.randint(1, 3)):
            # Half of the faults are in the headers, where most of the code is.
            until = len(spoilt) if self.random.random() < 0.5 else min(len(spoilt), 700)
            at, length = self.random.randrange(max(1, until)), self.random.randint(1, 40)
            fault = self.random.randrange(6)
            if fault == 0:
                spoilt[at : at + 1] = bytes([self.random.randrange(256)])
            elif fault == 1:
                del spoilt[at : at + length]
            elif fault == 2:
                spoilt[at:at] = spoilt[at : at + length]
            elif fault == 3:
                spoilt[at : at + length] = bytes(len(spoilt[at : at + length]))
            elif fault == 4:
                del spoilt[at:]
            else:
                spoilt[at : at + 2] = bytes([0xFF, self.random.randrange(256)])
        return kind, bytes(spoilt)


def ours(data: bytes, side: int) -> Outcome:
    """Size and pixels, or reason and detail, from hanclip."""
    try:
        found = decode(data, side, _MAX_PIXELS)
    except ImageError as error:
        return error.reason, error.detail
    return found.width, found.height, found.pixels


def pillows(data: bytes, side: int) -> Outcome:
    """The same with one call of Pillow's `resize`."""
    try:
        with opened(data, _MAX_PIXELS) as image:
            whole = plain(image, data)
            square = whole.resize((side, side), Image.Resampling.BICUBIC)
            pixels: npt.NDArray[np.uint8] = np.asarray(square if square.mode == "RGB" else square.convert("RGB"))
            return whole.width, whole.height, pixels
    except ImageError as error:
        return error.reason, error.detail


def equal(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes are the same in every byte."""
    return len(one) == len(other) and all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def compare(
    make: Callable[[], tuple[str, bytes]], count: int, choose: random.Random, until_s: float
) -> tuple[Counter[str], list[str]]:
    """Numbers by kind of picture or reason, and what differs, of `count` files or those until a moment."""
    found: Counter[str] = Counter()
    different = []
    for number in range(count):
        if time.monotonic() > until_s:
            break
        kind, data = make()
        side = choose.choice(_SIDES)
        one, other = ours(data, side), pillows(data, side)
        found[kind if len(other) == 3 else str(other[0])] += 1
        if not equal(one, other):
            different.append(f"number {number}, {kind} of {len(data)} bytes to {side}: {one[:2]} and {other[:2]}")
    return found, different


def main() -> None:
    """Compare, and store what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--damaged", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--minutes", type=float, default=600, help="compare no more files after that, half for each sort"
    )
    parser.add_argument("--add", action="store_true", help="add to today's result, which other seeds gave")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    if started_kernels() is None or fast_decoder() is None:
        raise SystemExit("the fast code cannot be used here: install the extra fast")
    decode(_megapixels(), 16, _MAX_PIXELS)  # enough pixels for the kernels to start
    pictures, before = Pictures(given.seed), stored("pixels") if given.add else {}
    if given.seed in before.get("seeds", ()):
        parser.error(f"seed {given.seed} is in the result already")
    counts = Counter({(row["files"], row["kind"]): row["count"] for row in before.get("rows", ())})
    differences: list[str] = before.get("different", [])
    for name, make, count in (
        ("damaged", pictures.damaged, given.damaged),
        ("whole", pictures.make, given.pictures),
    ):
        until_s = time.monotonic() + given.minutes * 60 / 2
        found, different = compare(make, count, random.Random(given.seed), until_s)
        counts.update({(name, kind): number for kind, number in found.items()})
        differences += [f"seed {given.seed}, {one}" for one in different]
    print("\n".join(differences[:_SHOWN]))
    rows = [{"files": files, "kind": kind, "count": counts[files, kind]} for files, kind in sorted(counts)]
    goals = [Goal("files that differ", len(differences), at_most=0)]
    save("pixels", load, goals, rows, different=differences, seeds=[*before.get("seeds", ()), given.seed])


def _megapixels() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (2000, 2000)).save(file, "PNG", compress_level=1)
    return file.getvalue()


if __name__ == "__main__":
    main()
