"""Makes thumbnails for pages: small WebP or JPEG pictures on white, for display and not for the model."""

from __future__ import annotations

import io
from typing import Literal

from PIL import Image

from pipeline.images.opening import opened
from pipeline.images.plain import plain

PictureFormat = Literal["WEBP", "JPEG"]
#: Of a JPEG it needs to be higher for the same look.
_QUALITY: dict[PictureFormat, int] = {"WEBP": 72, "JPEG": 82}


def thumbnail(data: bytes, side: int, encoding: PictureFormat = "WEBP") -> bytes:
    """The image on white, encoded so that it fits into `side` x `side` pixels; never enlarged.

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
        small.save(encoded, encoding, quality=_QUALITY[encoding])
        return encoded.getvalue()
