"""Decodes a text file in pieces and in lines.

A large file is not read twice to find its encoding: the 256 kB that begin with the first byte that is not ASCII decide.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import BinaryIO, cast

from pipeline.sources.containers.compression import STREAM_ERRORS
from pipeline.sources.texts import encoding_of

_PIECE_BYTES = 2**16
_SAMPLE_BYTES = 2**18


class NotTextError(ValueError):
    """Bytes that the encoding of their file does not have."""


def pieces_of(stream: BinaryIO) -> Iterator[str]:
    """The text of a file in pieces, all of it before an error.

    Raises:
        NotTextError: it has a byte that its encoding does not have.
        OSError, STREAM_ERRORS: of reading.
    """
    source = cast(io.BufferedIOBase, stream)
    data, place = source.read1(_PIECE_BYTES), 0
    while data and data.isascii():
        yield data.decode("ascii")
        place += len(data)
        data = source.read1(_PIECE_BYTES)
    sample, damage = _sample(source, data)
    encoding = encoding_of(sample)
    decoder = codecs.getincrementaldecoder(encoding)()
    data = sample
    while True:
        place += len(data)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            yield error.object[: error.start].decode(encoding)
            at = place - len(error.object) + error.start
            name = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
            raise NotTextError(f"byte {at:,} is not {name}") from error
        if text:
            yield text
        if damage:
            raise damage
        if not data:
            return
        data = source.read1(_PIECE_BYTES)


def _sample(source: io.BufferedIOBase, data: bytes) -> tuple[bytes, Exception | None]:
    """The bytes that decide the encoding, from `data` on, and the error that ends them early."""
    parts, size = [data], len(data)
    try:
        while size < _SAMPLE_BYTES and (data := source.read1(_PIECE_BYTES)):
            parts.append(data)
            size += len(data)
    except (OSError, *STREAM_ERRORS) as error:
        return b"".join(parts), error
    return b"".join(parts), None


def lines_of(pieces: Iterator[str]) -> Iterator[str]:
    r"""The lines of a text with their ends, which are \n, \r\n or \r."""
    kept: list[str] = []
    for piece in pieces:
        # A \r at the very end may be the first half of \r\n.
        end = max(piece.rfind("\n"), piece.rfind("\r", 0, len(piece) - 1)) + 1
        if end:
            yield from io.StringIO("".join([*kept, piece[:end]]), newline="")
            kept = []
        kept.append(piece[end:])
    yield from io.StringIO("".join(kept), newline="")
