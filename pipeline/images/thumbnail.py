"""Makes thumbnails for pages: small WebP pictures on white, for display and not for the model."""

from __future__ import annotations

import io

from PIL import Image

from pipeline.images.opening import opened
from pipeline.images.plain import plain

_QUALITY = 72


def thumbnail(data: bytes, side: int) -> bytes:
    """The image on white as a WebP that fits into `side` x `side` pixels; never enlarged.

    A JPEG is decoded at a fraction of its size.

    Raises:
        ImageError: as for `decode`.
    """
    with opened(data) as image:
        image.draft("RGB", (2 * side, 2 * side))
        small = plain(image, data)
        small = small if small.mode in ("RGB", "L") else small.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        encoded = io.BytesIO()
        small.save(encoded, "WEBP", quality=_QUALITY)
        return encoded.getvalue()
