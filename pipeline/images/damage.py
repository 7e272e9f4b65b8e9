"""Says what is wrong with an image that a decoder refused: it ends too early, it is of an unsupported kind, or damaged.

In: the bytes, their format, and the decoder's error. Out: an `ImageError`. The format's own structure decides where
that is possible, because decoders name the same damage differently. Used after a failure only, so it costs whole
images nothing.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from pipeline.errors import ImageError
from pipeline.images.boxes import boxes
from pipeline.images.formats import FileFormat
from pipeline.vocabulary import Reason

_CUT = re.compile(r"truncated|incomplete|end of file|EOF|not enough", re.IGNORECASE)
#: How Pillow's plugins refuse what they know and do not decode.
_UNSUPPORTED = re.compile(
    r"unsupported|not supported|not installed|not available|cannot handle|unknown (pixel mode|compression|data)",
    re.IGNORECASE,
)


def damage(data: bytes, known: FileFormat | None, error: Exception) -> ImageError:
    """The error for bytes that begin like an image and cannot be decoded."""
    name = known.name if known else "image"
    message, origin = f"{error or type(error).__name__}", error.__cause__ or error
    if name == "JPEG" and (variant := _jpeg_variant(data)):
        reason, message = Reason.UNSUPPORTED_FORMAT, f"{variant}, which is not read: convert the image to 8-bit RGB"
    elif isinstance(origin, EOFError) or _ENDS_EARLY.get(name, _never)(data) or _CUT.search(message):
        reason = Reason.TRUNCATED
    elif name == "TIFF" and isinstance(origin, KeyError):  # Pillow looks compressions and layouts up in tables
        reason, message = Reason.UNSUPPORTED_FORMAT, f"unknown compression or layout {origin}: convert the image"
    else:
        reason = Reason.UNSUPPORTED_FORMAT if _UNSUPPORTED.search(message) else Reason.UNREADABLE
    return ImageError(reason, f"{name} of {len(data)} bytes: {message}")


def _never(data: bytes) -> bool:
    return False


def _without(marker: bytes) -> Callable[[bytes], bool]:
    """Whether the format's end marker is missing. Padding after it is common."""
    return lambda data: not data.rstrip(b"\0\r\n").endswith(marker.rstrip(b"\0\r\n"))


def _webp_ends_early(data: bytes) -> bool:
    return len(data) < 8 + int.from_bytes(data[4:8], "little")


def _bmp_ends_early(data: bytes) -> bool:
    return len(data) < 18 or len(data) < int.from_bytes(data[2:6], "little")


def _ico_ends_early(data: bytes) -> bool:
    count = int.from_bytes(data[4:6], "little")
    sizes = (struct.unpack_from("<II", data, 14 + 16 * at) for at in range(count))
    return len(data) < 6 + 16 * count or any(offset + size > len(data) for size, offset in sizes)


def _boxes_end_early(data: bytes) -> bool:
    """A box goes beyond the file, or the index or the pixels are missing."""
    found = list(boxes(data, 0, len(data)))
    complete = {b"meta", b"mdat"} <= {box.kind for box in found}
    return not complete or any(box.end > len(data) for box in found)


def _jpeg_2000_ends_early(data: bytes) -> bool:
    return _without(b"\xff\xd9")(data) or any(box.end > len(data) for box in boxes(data, 0, len(data)))


_OFFSETS_AND_SIZES = {273: 279, 324: 325}  # tags of strips and of tiles
_NUMBERS = {3: "H", 4: "I", 16: "Q"}  # types of offsets and sizes
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def _tiff_ends_early(data: bytes) -> bool:
    """The directory, or values or pixels that it points to, are beyond the file."""
    try:
        tags = dict(_tiff_tags(data))
    except struct.error:
        return True
    return any(
        offset + size > len(data)
        for offsets, sizes in _OFFSETS_AND_SIZES.items()
        for offset, size in zip(tags.get(offsets, ()), tags.get(sizes, ()), strict=False)
    )


def _unpack(layout: str, data: bytes, at: int) -> tuple[int, ...]:
    """Numbers at a place that the file names, which may be any number of 64 bits."""
    return struct.unpack_from(layout, data, min(at, len(data)))


def _tiff_tags(data: bytes) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The offsets and sizes in the first directory. Raises struct.error if it or a value of it is beyond the file."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = b"+" in data[2:4]
    number, at = ("Q", 8) if is_big else ("I", 4)
    [at] = _unpack(order + number, data, at)
    [count] = _unpack(order + ("Q" if is_big else "H"), data, at)
    at += 8 if is_big else 2
    width = struct.calcsize(order + number)
    for _ in range(min(count, 0xFFFF)):
        tag, kind, length = _unpack(f"{order}HH{number}", data, at)
        place, n_bytes = at + 4 + width, length * _TYPE_BYTES.get(kind, 0)
        if n_bytes > width:
            [place] = _unpack(order + number, data, place)
        if place + n_bytes > len(data):
            raise struct.error(f"the value of tag {tag} is beyond the file")
        if kind in _NUMBERS and tag in (*_OFFSETS_AND_SIZES, *_OFFSETS_AND_SIZES.values()):
            yield tag, _unpack(f"{order}{length}{_NUMBERS[kind]}", data, place)
        at += 4 + 2 * width
    _unpack(order + number, data, at)  # where the next directory is


_ENDS_EARLY: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _without(b"\xff\xd9"),
    "PNG": _without(b"IEND\xaeB`\x82"),
    "GIF": _without(b";"),
    "WebP": _webp_ends_early,
    "AVIF": _boxes_end_early,
    "HEIC": _boxes_end_early,
    "TIFF": _tiff_ends_early,
    "JPEG 2000": _jpeg_2000_ends_early,
    "BMP": _bmp_ends_early,
    "ICO": _ico_ends_early,
    "QOI": lambda data: not data.endswith(bytes(7) + b"\1"),
}

_FRAMES = {0xC3: "lossless", 0xF7: "lossless (JPEG-LS)"} | dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical")
_FRAMES |= {0xCB: "lossless"} | dict.fromkeys((0xCD, 0xCE, 0xCF), "hierarchical")
_READ_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_SCAN = 0xDA


def _jpeg_variant(data: bytes) -> str | None:
    """A kind of JPEG that Pillow does not decode, by the header of its frame; None for the others."""
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != _SCAN:
        marker = data[at + 1]
        if marker in _FRAMES:
            return f"a {_FRAMES[marker]} JPEG"
        if marker in _READ_FRAMES:
            bits, height, channels = data[at + 4], int.from_bytes(data[at + 5 : at + 7], "big"), data[at + 9]
            if bits != 8:
                return f"a JPEG of {bits} bits per channel"
            if height == 0:
                return "a JPEG that tells its height after the pixels (DNL)"
            return None if channels in (1, 3, 4) else f"a JPEG of {channels} channels"
        at += 1 if marker == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None
