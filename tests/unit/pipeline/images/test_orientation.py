"""Pixels, width and height are those that the file stores, for every format and every orientation."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images.decode import decode
from pipeline.images.thumbnail import thumbnail

PICTURE = Image.fromarray(np.random.default_rng(5).integers(0, 256, (3, 4, 3), dtype=np.uint8)).resize((64, 48))
#: 64 x 48, written by libheif with a reflection and a rotation by 90 degrees, each a property of one byte.
HEIC = (Path(__file__).parents[3] / "fixtures" / "turned.heic").read_bytes()


def encoded(kind: str, orientation: int | None, **options: object) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
        options["exif"] = exif
    PICTURE.save(file, kind, **options)
    return file.getvalue()


def test_nothing_is_turned() -> None:
    kinds: dict[str, dict[str, object]] = {
        "JPEG": {}, "MPO": {}, "PNG": {}, "WEBP": {"lossless": True}, "AVIF": {}, "TIFF": {}
    }  # fmt: skip
    for kind, options in kinds.items():
        stored = decode(encoded(kind, None, **options), 64, 10_000)
        for orientation in range(1, 9):
            found = decode(encoded(kind, orientation, **options), 64, 10_000)
            assert (found.width, found.height) == (64, 48), (kind, orientation)
            np.testing.assert_array_equal(found.pixels, stored.pixels, f"{kind} {orientation}")


@pytest.mark.parametrize("options", [{"compression": "tiff_lzw"}, {"compression": "jpeg"}])
def test_a_compressed_tiff_is_not_turned(options: dict[str, object]) -> None:
    stored = decode(encoded("TIFF", None, **options), 64, 10_000)
    for orientation in (2, 3, 4, 5, 6, 7, 8):
        np.testing.assert_array_equal(decode(encoded("TIFF", orientation, **options), 64, 10_000).pixels, stored.pixels)


def test_a_thumbnail_is_not_turned_either() -> None:
    with Image.open(io.BytesIO(thumbnail(encoded("TIFF", 6), 40))) as small:
        assert small.size == (40, 30)


def test_a_heic_is_not_turned() -> None:
    pytest.importorskip("pillow_heif")
    rotation, reflection = HEIC.index(b"irot"), HEIC.index(b"imir")
    for quarters in range(4):
        for is_reflected in (True, False):
            data = bytearray(HEIC)
            data[rotation + 4] = quarters
            if not is_reflected:
                data[reflection : reflection + 5] = b"irot\0"
            found = decode(bytes(data), 64, 10_000)
            assert (found.width, found.height) == (64, 48)
            corners = [found.pixels[y, x].astype(int) for y, x in ((8, 8), (8, 55), (55, 8), (55, 55))]
            colours = ((200, 60, 40), (30, 90, 220), (240, 220, 60), (200, 60, 40))
            for corner, colour in zip(corners, colours, strict=True):
                assert abs(corner - colour).max() < 20
