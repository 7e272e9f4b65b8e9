"""The transparent colour of a PNG, read from the file at the file's own depth.

In: the bytes of a PNG. Out: the grey level or the colour that its tRNS chunk declares as transparent. Pillow scales
pixels to 8 bits and leaves that colour as it is, so the two cannot be compared afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_GREY, _RGB, _PALETTE = 0, 2, 3
_FIRST_CHUNK = 8
_LEVELS = {_GREY: 1, _RGB: 3}


@dataclass(frozen=True, slots=True)
class ColourKey:
    """The colour whose pixels are transparent.

    Attributes:
        levels: one for grey, three for RGB, from 0 to 2**depth - 1.
        depth: bits of a level in the file: 1, 2, 4, 8 or 16.
    """

    levels: tuple[int, ...]
    depth: int


@dataclass(frozen=True, slots=True)
class _Chunk:
    kind: bytes
    start: int
    length: int


def colour_key(data: bytes) -> ColourKey | None:
    """The transparent colour of a grey or RGB image; None without one. Bits above the depth do not count."""
    chunk, depth, colour = _transparency(data), data[24], data[25]
    if chunk is None or colour == _PALETTE:
        return None
    values = (data[at : at + 2] for at in range(chunk.start, chunk.start + chunk.length, 2))
    return ColourKey(tuple(int.from_bytes(value, "big") & (1 << depth) - 1 for value in values), depth)


def has_transparency(data: bytes) -> bool:
    """Whether a valid tRNS chunk stands before the pixels, the only place where it counts."""
    return _transparency(data) is not None


def without_invalid_transparency(data: bytes) -> bytes:
    """The file without a tRNS chunk of the wrong length, which browsers ignore and Pillow refuses."""
    for chunk, is_valid in _transparencies(data):
        if not is_valid:
            return data[: chunk.start - 8] + data[chunk.start + chunk.length + 4 :]
    return data


def _transparency(data: bytes) -> _Chunk | None:
    return next((chunk for chunk, is_valid in _transparencies(data) if is_valid), None)


def _transparencies(data: bytes) -> Iterator[tuple[_Chunk, bool]]:
    """The tRNS chunks before the pixels, and whether their length suits the colour type."""
    entries = 0
    for chunk in _chunks(data):
        if chunk.kind == b"PLTE":
            entries = chunk.length // 3
        if chunk.kind == b"tRNS":
            colour = data[25]
            fits = chunk.length <= entries if colour == _PALETTE else chunk.length == 2 * _LEVELS.get(colour, 0)
            yield chunk, fits and chunk.length > 0


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks before the first one of pixels."""
    at = _FIRST_CHUNK
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind == b"IDAT":
            return
        yield _Chunk(kind, at + 8, length)
        at += length + 12
