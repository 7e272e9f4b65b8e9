"""Photo-like JPEGs for the other benchmarks: smooth random fields of several scales plus sensor noise.

    python -m benchmarks.images FOLDER --count 4000 --width 640 --height 480

Image number i is the same on every machine with the same Pillow and NumPy. Existing files are kept.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

QUALITY = 90
_SUBSAMPLING_420 = 2
_PER_FOLDER = 1000
#: (cells across the picture, amplitude in levels): amplitude falls as the scale does, as in photographs.
_OCTAVES = ((4, 60.0), (16, 25.0), (64, 12.0), (160, 6.0))
_NOISE_LEVELS = 4.0


def photo_like(number: int, width: int, height: int) -> Image.Image:
    """RGB image of `width` x `height`, determined by `number`."""
    random = np.random.default_rng(number)
    levels = np.full((height, width, 3), 128.0, dtype=np.float32)
    for cells, amplitude in _OCTAVES:
        levels += _field(random, cells, width, height) * amplitude
    levels += random.standard_normal((height, width, 1), dtype=np.float32) * _NOISE_LEVELS
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _field(random: np.random.Generator, cells: int, width: int, height: int) -> npt.NDArray[np.float32]:
    """(height, width, 3) smooth field with a deviation of about 1; colours are correlated, as in photographs."""
    rows = max(2, cells * height // width)
    grey = random.standard_normal((rows, cells, 1), dtype=np.float32)
    coarse = grey + 0.4 * random.standard_normal((rows, cells, 3), dtype=np.float32)
    planes = [Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(3)]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def make(folder: Path, count: int, width: int, height: int) -> list[Path]:
    """Write `count` JPEGs below `folder`, a thousand to a subfolder, in all cores, and return their paths."""
    paths = [folder / f"{number // _PER_FOLDER:03d}" / f"{number:06d}.jpg" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for parent in {paths[number].parent for number in missing}:
        parent.mkdir(parents=True, exist_ok=True)
    if missing:
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            wanted = ([values[number] for number in missing] for values in (range(count), paths))
            list(pool.map(_write, *wanted, repeat(width), repeat(height), chunksize=16))
    return paths


def _write(number: int, path: Path, width: int, height: int) -> None:
    whole = path.with_suffix(".part")
    photo_like(number, width, height).save(whole, "JPEG", quality=QUALITY, subsampling=_SUBSAMPLING_420)
    whole.rename(path)


def repeated(folder: Path, distinct: int, count: int, width: int, height: int) -> Path:
    """A folder of `count` names for `distinct` JPEGs in `folder`, by hard links: the same work with less disk."""
    originals = make(folder, distinct, width, height)
    place = folder.with_name(f"{folder.name}-as-{count}")
    for number in range(count):
        link = place / f"{number // _PER_FOLDER:03d}" / f"{number:06d}.jpg"
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.hardlink_to(originals[number % distinct])
    return place


def main() -> None:
    """Make a set of images and print their sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    given = parser.parse_args()
    paths = make(given.folder, given.count, given.width, given.height)
    mean_kb = sum(path.stat().st_size for path in paths) / len(paths) / 1000
    print(f"{len(paths)} JPEGs of {given.width} x {given.height} in {given.folder}, {mean_kb:.0f} kB each")


if __name__ == "__main__":
    main()
