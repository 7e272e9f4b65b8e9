"""Decodes ordinary JPEGs with simplejpeg: Pillow's pixels, faster and without a copy.

In: an image that Pillow opened, and its bytes. Out: its pixels as an array, or None for Pillow to decode it. Both are
libjpeg-turbo, and neither result nor reason may depend on which of them ran. So only what nearly all files are is
decoded here: 8 bits, grey or YCbCr, one of the usual samplings. Whatever is unusual, and whatever libjpeg only warns
about, is left to Pillow, which names the fault.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
from PIL import Image, JpegImagePlugin

from pipeline.images.resizing.levels import Levels

logger = logging.getLogger(__name__)

_PACKAGE = "simplejpeg"
#: Horizontal and vertical sampling of the first component; the others have 1 x 1.
_SAMPLINGS = frozenset({(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)})
_COLOURS = {"L": "GRAY", "RGB": "RGB"}
#: Adobe's marker says with this that the components are YCbCr, as they are without the marker.
_YCBCR = 1


def fast_levels(image: Image.Image, data: bytes) -> Levels | None:
    """(H, W, 1 or 3) uint8; None if Pillow must decode `image`."""
    decoder = fast_decoder() if _is_ordinary(image) else None
    if decoder is None:
        return None
    try:
        levels = decoder(data, _COLOURS[image.mode])
    except ValueError:  # an error or a warning of libjpeg
        return None
    return levels if levels.shape[:2] == (image.height, image.width) else None


def _is_ordinary(image: Image.Image) -> bool:
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.mode not in _COLOURS:
        return False
    layers = [tuple(layer[:3]) for layer in image.layer]
    if image.mode == "L":
        return layers == [(1, 1, 1)]
    if layers[1:] != [(2, 1, 1), (3, 1, 1)]:  # a damaged header may have none
        return False
    number, *sampling = layers[0]
    is_ycbcr = number == 1 and image.info.get("adobe_transform", _YCBCR) == _YCBCR
    return is_ycbcr and tuple(sampling) in _SAMPLINGS


@cache
def fast_decoder() -> Callable[[bytes, str], Levels] | None:
    """The decoder, compared with Pillow; None if it is not installed, or anything about it is odd."""
    if find_spec(_PACKAGE) is None:
        return None
    try:
        from simplejpeg import decode_jpeg
    except ImportError as error:
        logger.warning("JPEGs are decoded by Pillow, which is slower: %s cannot be used here (%s)", _PACKAGE, error)
        return None

    def decoder(data: bytes, colours: str) -> Levels:
        return np.asarray(decode_jpeg(data, colours, fastdct=False, fastupsample=False, strict=True))

    if all(_same_as_pillow(decoder, *probe) for probe in (("RGB", 0), ("RGB", 1), ("RGB", 2), ("L", 0))):
        return decoder
    logger.warning("JPEGs are decoded by Pillow, which is slower: %s gives other pixels", _PACKAGE)
    return None


def _same_as_pillow(decoder: Callable[[bytes, str], Levels], mode: str, subsampling: int) -> bool:
    across, down = np.meshgrid(np.arange(45), np.arange(37))
    levels = np.stack([across * 5, down * 6, across * down % 251], axis=2).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).convert(mode).save(file, "JPEG", quality=83, subsampling=subsampling)
    with Image.open(file) as image:
        expected = np.asarray(image).reshape(37, 45, -1)
    try:
        return np.array_equal(decoder(file.getvalue(), _COLOURS[mode]), expected)
    except ValueError:
        return False
