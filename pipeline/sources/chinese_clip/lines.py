"""Indexes the lines of `*_imgs.tsv` and `*_texts.jsonl` by byte offset, and parses lines that are read alone.

A line's fingerprint is the hash of its bytes, so a file that was copied or touched holds the same records as before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import blake2b

from pipeline import storage
from pipeline.sources.chinese_clip.texts_file import TextLine, parse_text
from pipeline.storage import ReadPolicy

#: At most this much of a line is in memory; a longer line is hashed in pieces, and fails when it is read.
PIECE_BYTES = 16 * 2**20
_BUFFER_BYTES = 4 * 2**20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: byte offset, size, bytes (at most the first 16 MiB), and the hash of all its bytes."""

    position: int
    size_bytes: int
    data: bytes
    fingerprint: str


def lines_of(uri: str, policy: ReadPolicy) -> Iterator[Line]:
    """Every non-blank line of a file, in order."""
    with storage.open_seekable(uri, policy, _BUFFER_BYTES) as file:
        position = 0
        while data := file.readline(PIECE_BYTES):
            piece, size_bytes, digest = data, len(data), blake2b(data.rstrip(b"\n"), digest_size=16)
            while not piece.endswith(b"\n") and (piece := file.readline(PIECE_BYTES)):
                size_bytes += len(piece)
                digest.update(piece.rstrip(b"\n"))
            if data.strip(b"\r\n"):
                yield Line(position, size_bytes, data, digest.hexdigest())
            position += size_bytes


def fingerprint(data: bytes) -> str:
    """The hash of a line or value, as `lines_of` computes it."""
    return blake2b(data.rstrip(b"\n"), digest_size=16).hexdigest()


def image_id(line: bytes) -> str:
    """The image id in a line of `*_imgs.tsv`.

    Raises:
        ValueError: it is not such a line.
    """
    key, tab, rest = line.removeprefix(_BOM).partition(b"\t")
    if not tab or b"\t" in rest or not (name := key.decode("utf-8").strip()):
        raise ValueError("it is not `image_id<TAB>base64`")
    return canonical_id(name)


def text_line(line: bytes) -> TextLine:
    """A line of `*_texts.jsonl`, with ids spelled as `image_id` spells them; ValueError if it is not such a line."""
    found = parse_text(line)
    return replace(found, text_id=canonical_id(found.text_id), image_ids=tuple(map(canonical_id, found.image_ids)))


def encoded_image(line: bytes) -> bytes:
    """The base64 in an image's line."""
    return line.partition(b"\t")[2].strip(b"\r\n ")


def canonical_id(name: str) -> str:
    """One spelling per number, since texts refer to images by number: `007` is 7."""
    return name.lstrip("0") or "0" if name.isascii() and name.isdigit() else name
