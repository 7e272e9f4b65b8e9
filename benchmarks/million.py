"""Sources of many records that cost little disk: a table of URLs, a table of tiny images, a folder, tars.

Each function creates its source below a folder if it is missing, and returns its path.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_PER_FOLDER = 1000
_PER_TAR = 10_000
_BATCH = 100_000


def url_table(work: Path, rows: int) -> Path:
    """Parquet with id, url and text."""
    return _table(
        work / f"urls-{rows}.parquet",
        rows,
        lambda n: {"url": f"https://images.example.com/catalog/{n % 997}/{n}.jpg", "text": f"第{n}件商品"},
    )


def image_table(work: Path, rows: int) -> Path:
    """Parquet with id and image: PNGs of 8 x 8 pixels, a thousand different ones."""
    pngs = [_png(number) for number in range(1000)]
    return _table(work / f"images-{rows}.parquet", rows, lambda n: {"image": pngs[n % len(pngs)]})


def folder(work: Path, files: int) -> Path:
    """Empty files named .jpg, a thousand per subfolder; planning does not open them."""
    place = work / f"files-{files}"
    for start in range(0, files, _PER_FOLDER):
        below = place / f"{start // _PER_FOLDER:05d}"
        if not below.exists():
            part = below.with_suffix(".part")
            part.mkdir(parents=True, exist_ok=True)
            for number in range(start, min(start + _PER_FOLDER, files)):
                (part / f"{number:09d}.jpg").touch()
            part.rename(below)
    return place


def tars(work: Path, members: int) -> Path:
    """Tars of ten thousand members of one byte each."""
    place = work / f"tars-{members}"
    place.mkdir(parents=True, exist_ok=True)
    for start in range(0, members, _PER_TAR):
        path = place / f"{start // _PER_TAR:05d}.tar"
        if not path.exists():
            part = path.with_suffix(".part")
            with tarfile.open(part, "w") as tar:
                for number in range(start, min(start + _PER_TAR, members)):
                    info = tarfile.TarInfo(f"{number:09d}.jpg")
                    info.size = 1
                    tar.addfile(info, io.BytesIO(b"x"))
            part.rename(path)
    return place


def _table(path: Path, rows: int, make: Callable[[int], dict[str, object]]) -> Path:
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part, writer = path.with_suffix(".part"), None
    for start in range(0, rows, _BATCH):
        numbers = range(start, min(start + _BATCH, rows))
        table = pa.Table.from_pylist([{"id": f"item-{n:09d}", **make(n)} for n in numbers])
        writer = writer or pq.ParquetWriter(part, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    part.rename(path)
    return path


def _png(number: int) -> bytes:
    levels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(levels).save(sink, "PNG")
    return sink.getvalue()
