"""The transparent colour of a PNG: compared at the file's own depth, whatever the depth and colour type."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipeline.images.decode import decode

GREY, RGB, PALETTE, GREY_ALPHA = 0, 2, 3, 4
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2}
WHITE = [255, 255, 255]
PALETTE_OF_FOUR = bytes([0, 0, 0, 10, 20, 30, 40, 50, 60, 70, 80, 90])


def chunk(kind: bytes, contents: bytes) -> bytes:
    return struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))


def png(
    depth: int, colour: int, pixels: Sequence[Any], *chunks: tuple[bytes, bytes], interlaced: bool = False
) -> bytes:
    """A picture of one row of pixels, left half and right half; each pixel is a level or a tuple of levels."""
    levels = np.repeat(np.array(pixels, dtype=np.uint16).reshape(len(pixels), -1), 8, axis=0)
    assert levels.shape[1] == CHANNELS[colour]
    width, height = len(levels), 8
    rows = [levels] * height
    passes = [[row[x0::dx] for row in rows[y0::dy]] for x0, y0, dx, dy in ADAM7] if interlaced else [rows]
    lines = b"".join(b"\0" + packed(row, depth) for one in passes for row in one if len(row))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    palette = [(b"PLTE", PALETTE_OF_FOUR)] if colour == PALETTE else []
    parts = [(b"IHDR", header), *palette, *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def packed(levels: Any, depth: int) -> bytes:
    flat = levels.ravel()
    if depth == 16:
        return bytes(flat.astype(">u2").tobytes())
    bits = np.unpackbits(flat.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def ends(data: bytes) -> list[list[int]]:
    """The colours at the left and the right of the decoded picture."""
    pixels = decode(data, 64, 10_000).pixels
    return [pixels[32, 4].tolist(), pixels[32, -5].tolist()]


def key(*levels: int) -> tuple[bytes, bytes]:
    return b"tRNS", struct.pack(f">{len(levels)}H", *levels)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_level_is_compared_at_every_depth(depth: int, interlaced: bool) -> None:
    top = 2**depth - 1
    shown = max(top - 1, 0)
    grey = [(shown >> 8 if depth == 16 else shown * 255 // top)] * 3
    assert ends(png(depth, GREY, [shown, top], key(top), interlaced=interlaced)) == [grey, WHITE]
    assert ends(png(depth, GREY, [shown, 0 if depth > 1 else 1], key(shown), interlaced=interlaced))[0] == WHITE


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_16_bit_colour_is_compared_with_all_its_bits(interlaced: bool) -> None:
    pixels = [(0x1234, 0x5678, 0x9ABC), (0x1234, 0x5678, 0x9ABD)]
    assert ends(png(16, RGB, pixels, key(*pixels[0]), interlaced=interlaced)) == [WHITE, [0x12, 0x56, 0x9A]]
    dark = [(0x12, 0x34, 0x56), (0, 0, 0)]
    assert ends(png(16, RGB, dark, key(0, 0, 0), interlaced=interlaced)) == [[0, 0, 0], WHITE]


def test_an_8_bit_colour_and_bits_above_the_depth() -> None:
    pixels = [(1, 2, 3), (1, 2, 4)]
    assert ends(png(8, RGB, pixels, key(1, 2, 3))) == [WHITE, [1, 2, 4]]
    assert ends(png(8, RGB, pixels, key(0x101, 0xFF02, 3))) == [WHITE, [1, 2, 4]]
    assert ends(png(2, GREY, [1, 2], key(5))) == [WHITE, [170] * 3]


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_a_palette_has_an_opacity_for_each_entry(depth: int) -> None:
    assert ends(png(depth, PALETTE, [1, 2], (b"tRNS", b"\xff\0"))) == [WHITE, [40, 50, 60]]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(8, GREY, [7, 9], (b"tRNS", b"\x07")), [[7] * 3, [9] * 3]),
        (png(8, GREY, [7, 9], key(7, 7)), [[7] * 3, [9] * 3]),
        (png(8, GREY, [7, 9], (b"tRNS", b"")), [[7] * 3, [9] * 3]),
        (png(8, RGB, [(7, 7, 7), (9, 9, 9)], key(7)), [[7] * 3, [9] * 3]),
        (png(8, PALETTE, [1, 2], (b"tRNS", b"\xff\0\0\0\0")), [[10, 20, 30], [40, 50, 60]]),
        (png(8, GREY_ALPHA, [(7, 255), (9, 0)], key(7)), [[7] * 3, WHITE]),
        (png(8, GREY, [7, 9]).replace(chunk(b"IEND", b""), chunk(*key(7)) + chunk(b"IEND", b"")), [[7] * 3, [9] * 3]),
    ],
    ids=["one byte", "two levels", "empty", "grey of RGB", "more than the palette", "with alpha", "after the pixels"],
)
def test_a_transparent_colour_that_the_format_does_not_allow_is_ignored(data: bytes, expected: list[list[int]]) -> None:
    assert ends(data) == expected
