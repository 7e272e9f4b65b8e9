"""Decodes image bytes to model-sized RGB pixels, exactly as in Chinese CLIP's training.

The image is resized to a square with Pillow's bicubic filter, without crop or padding. The rules and their reasons:

- *Resize in the source mode, then convert to RGB* (L, RGB, CMYK, YCbCr): the order of the authors' `image_transform`,
  whose result this is, bit for bit. transformers' `ChineseCLIPImageProcessorPil` converts first, which is the same for
  RGB and grey. For CMYK with much black it differs at edges by 60 levels and more; for YCbCr, which only TIFF files
  have, by 6.
- *Transparency becomes white* (alpha, palettes and PNG tRNS) before the resize: catalogs are shown on white, and
  transformers 5 does the same, bit for bit. Palettes and 1-bit images are first converted to RGB or grey, as there. So
  does the part of a canvas that the first frame of an animation does not cover, as in browsers.
- *16-bit grey is scaled* to 8 bits (>> 8). A plain conversion would clip nearly every value to white.
- *Floating-point pixels* and integers above 16 bits are refused, because they have no agreed range.
- *Pixels, width and height as stored*: no EXIF rotation, no ICC conversion. The published vectors were made without
  them. This holds for every format, also where a decoder turns images by itself (TIFF, HEIC). First frame only.
- No JPEG `draft` decoding, which is faster but changes pixels.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.formats import format_of
from pipeline.images.jpeg import fast_levels
from pipeline.images.measures.phash import phash
from pipeline.images.opening import opened, raise_pillow_limit
from pipeline.images.plain import plain
from pipeline.images.resizing.squash import kernels_for, squashed, squashed_levels
from pipeline.vocabulary import Reason

_END_OF_JPEG = b"\xff\xd9"
_BETWEEN_SCANS = (b"\xff\xc4", b"\xff\xda")  # Huffman tables and the header of the next scan


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One image, ready for the model.

    Attributes:
        pixels: (N, N, 3) uint8 RGB, C-contiguous.
        width, height: in pixels as stored, before resizing; an EXIF rotation is not applied.
        is_truncated: it ends too early, and what decodes was accepted.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    is_truncated: bool = False

    def phash(self) -> int:
        """64-bit perceptual hash of `pixels`, see `pipeline.images.measures.phash`."""
        return phash(self.pixels)

    def pixels_xxh128(self) -> str:
        """XXH3 digest of `pixels`, 32 hex digits; equal for an image that was re-encoded without loss."""
        return xxhash.xxh3_128_hexdigest(self.pixels.data)

    def blank_rows(self) -> float:
        """Share of the rows of `pixels` in one block of one colour at the top or at the bottom, whichever is larger.

        A file that was cut or partly zeroed has such a block.
        """
        return max(_leading_blank(self.pixels), _leading_blank(self.pixels[::-1])) / len(self.pixels)


def decode(data: bytes, size: int, max_pixels: int, accept_truncated: bool = False) -> DecodedImage:
    """Decode one image to `size` x `size` RGB pixels. Safe to call from several threads.

    Args:
        data: the encoded image.
        size: N of the pixels.
        max_pixels: refuse images with more, by their header.
        accept_truncated: take what decodes of a JPEG that ends too early; the missing rows are grey.

    Raises:
        ImageError: `not_an_image`, `unsupported_format`, `too_many_pixels` (before decoding), `truncated`,
            `unsupported_mode`, or `unreadable` for any other error of the decoder.
    """
    raise_pillow_limit(max_pixels)
    try:
        return _decoded(data, size, max_pixels)
    except ImageError as error:
        if not (accept_truncated and error.reason == Reason.TRUNCATED):
            raise
        found = _without_its_end(data, size, max_pixels)
        if found is None:
            raise
        return found


def _decoded(data: bytes, size: int, max_pixels: int, is_truncated: bool = False) -> DecodedImage:
    with opened(data, max_pixels) as image:
        return DecodedImage(*_squashed(image, data, size), is_truncated)


def _squashed(image: Image.Image, data: bytes, size: int) -> tuple[npt.NDArray[np.uint8], int, int]:
    """The model's pixels, and width and height of the picture."""
    kernels = kernels_for(image.width, image.height, size)
    if kernels is not None:
        levels = fast_levels(image, data)
        if levels is not None:
            return squashed_levels(levels, size, kernels), image.width, image.height
    whole = plain(image, data)
    return squashed(whole, size, kernels), whole.width, whole.height


def _leading_blank(rows: npt.NDArray[np.uint8]) -> int:
    """How many rows from the first one on have its first pixel's colour everywhere. Few images have any."""
    colour = rows[0, 0]
    if rows[0, -1].tobytes() != colour.tobytes() or (rows[0] != colour).any():
        return 0
    same = (rows == colour).all(axis=(1, 2))
    return len(rows) if same.all() else int(same.argmin())


def _without_its_end(data: bytes, size: int, max_pixels: int) -> DecodedImage | None:
    """A JPEG that ends too early, with the marker that makes its decoder finish; None if nothing decodes.

    If the tables or the header of a scan are cut, they are left out. Pillow's `LOAD_TRUNCATED_IMAGES` would hold for
    all threads of the process, and gives nothing of a progressive JPEG.
    """
    known = format_of(data)
    if known is None or known.name != "JPEG":
        return None
    last_segment = max(data.rfind(marker) for marker in _BETWEEN_SCANS)
    for kept in (data, data[:last_segment]):
        with suppress(ImageError):
            return _decoded(kept + _END_OF_JPEG, size, max_pixels, is_truncated=True)
    return None
