"""The boxes of ISO media files (HEIC, AVIF, JPEG 2000): finds them, and makes a HEIC decode as it is stored.

In: the bytes of a file. Out: positions of its boxes, or the bytes with its rotations taken out. A box is four bytes of
size, four of its kind, and its contents, which may be boxes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_REST, _LARGE = 0, 1  # sizes that mean "to the end of the file", and "eight more bytes hold the size"
_VERSION_BYTES = 4  # at the beginning of the contents of `meta`


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box is: its contents are `data[start:end]`. `end` is past the data if the file was cut."""

    kind: bytes
    start: int
    end: int


def boxes(data: bytes | bytearray, start: int, end: int) -> Iterator[Box]:
    """The boxes between two positions, up to the first that makes no sense."""
    while start + 8 <= end:
        size, header = int.from_bytes(data[start : start + 4], "big"), 8
        if size == _LARGE:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        elif size == _REST:
            size = end - start
        if size < header:
            return
        yield Box(bytes(data[start + 4 : start + 8]), start + header, start + size)
        start += size


def unrotated(data: bytes) -> bytes:
    """A HEIC without its rotations and reflections, which libheif would apply, and other formats' decoders would not.

    Both are properties of one byte, so a reflection is replaced by a rotation by 0 degrees: nothing moves.
    """
    turns = [box for box in _properties(data) if box.kind in (b"irot", b"imir")]
    if not turns:
        return data
    still = bytearray(data)
    for box in turns:
        still[box.start - 4 : box.start + 1] = b"irot\0"
    return bytes(still)


def _properties(data: bytes) -> Iterator[Box]:
    inside = [box for box in boxes(data, 0, len(data)) if box.kind == b"meta"]
    for kind, skipped in ((b"iprp", _VERSION_BYTES), (b"ipco", 0)):
        inside = [box for outer in inside for box in boxes(data, outer.start + skipped, outer.end) if box.kind == kind]
    for outer in inside:
        yield from boxes(data, outer.start, min(outer.end, len(data)))
