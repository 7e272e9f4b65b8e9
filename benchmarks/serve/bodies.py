"""The requests of the benchmark, in files with a body of `POST /v1/embeddings` in each line; each has one item.

Texts; JPEGs of 320 x 240 pixels as base64; and large ones of 50 million pixels, the most that are accepted.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from benchmarks.images import QUALITY, photo_like

#: Those that are compared between servers.
KINDS = ("text", "image")
_TEXTS, _IMAGES = 256, 64
_LARGE = (10_000, 5_000)


def written(folder: Path) -> dict[str, Path]:
    """The files by the kind of their items."""
    found = {}
    for kind, made in _MADE.items():
        found[kind] = folder / kind
        found[kind].write_bytes(b"\n".join(made()))
    return found


def _texts() -> Iterator[bytes]:
    for number in range(_TEXTS):
        yield _body(f"第{number}号商品：红色连衣裙，夏季新款，纯棉")


def _images() -> Iterator[bytes]:
    for number in range(_IMAGES):
        yield _body({"image": _encoded(photo_like(number, 320, 240), "JPEG")})


def _large_images() -> Iterator[bytes]:
    """A JPEG, and a PNG with transparency, which takes the most memory: four channels, and a white background."""
    yield _body({"image": _encoded(Image.new("RGB", _LARGE, (200, 30, 30)), "JPEG")})
    yield _body({"image": _encoded(Image.new("RGBA", _LARGE, (200, 30, 30, 128)), "PNG")})


_MADE: Mapping[str, Callable[[], Iterator[bytes]]] = {"text": _texts, "image": _images, "large image": _large_images}


def _body(item: object) -> bytes:
    return json.dumps({"input": item, "encoding_format": "base64"}, ensure_ascii=False).encode()


def _encoded(image: Image.Image, kind: str) -> str:
    file = io.BytesIO()
    image.save(file, kind, quality=QUALITY)
    return base64.b64encode(file.getvalue()).decode()
