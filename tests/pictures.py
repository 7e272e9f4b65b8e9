"""Small JPEGs that differ, in folders and tars, for runs that read thousands."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image


def jpegs(count: int) -> Iterator[bytes]:
    """`count` pictures of 64 to 128 pixels a side, always the same ones."""
    chance = np.random.default_rng(7)
    for _ in range(count):
        width, height = (int(side) for side in chance.integers(64, 129, 2))
        colours = Image.fromarray(chance.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        encoded = io.BytesIO()
        colours.resize((width, height), Image.Resampling.BILINEAR).save(encoded, "JPEG", quality=85)
        yield encoded.getvalue()


def write_folder(folder: Path, count: int) -> Path:
    """`00000.jpg`, `00001.jpg`, ..."""
    folder.mkdir(parents=True)
    for number, picture in enumerate(jpegs(count)):
        (folder / f"{number:05d}.jpg").write_bytes(picture)
    return folder


def write_tar(path: Path, pictures: list[bytes], first: int = 0) -> Path:
    """A WebDataset tar of pictures with captions; keys count from `first`."""
    with tarfile.open(path, "w") as tar:
        for number, picture in enumerate(pictures, first):
            for suffix, content in (("jpg", picture), ("txt", f"第{number}件商品".encode())):
                member = tarfile.TarInfo(f"{number:05d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_tars(folder: Path, tars: int, each: int) -> Path:
    """`0.tar`, `1.tar`, ...: each is one shard."""
    folder.mkdir(parents=True)
    pictures = list(jpegs(tars * each))
    for number in range(tars):
        write_tar(folder / f"{number}.tar", pictures[number * each : (number + 1) * each], number * each)
    return folder
