"""The requests of the benchmark: single texts, and single JPEGs of 320 x 240 pixels as base64."""

from __future__ import annotations

import base64
import io
import json

from benchmarks.images import QUALITY, photo_like

KINDS = ("text", "image")
_TEXTS, _IMAGES = 256, 64


def bodies(kind: str) -> list[bytes]:
    """Different bodies of `POST /v1/embeddings`, each of one item."""
    if kind == "text":
        return [_body(f"第{number}号商品：红色连衣裙，夏季新款，纯棉") for number in range(_TEXTS)]
    return [_body({"image": base64.b64encode(_jpeg(number)).decode()}) for number in range(_IMAGES)]


def _body(item: object) -> bytes:
    return json.dumps({"input": item, "encoding_format": "base64"}, ensure_ascii=False).encode()


def _jpeg(number: int) -> bytes:
    file = io.BytesIO()
    photo_like(number, 320, 240).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
