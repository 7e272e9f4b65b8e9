"""Brings a decoded image into a form that can be resized: as stored, on white, with 8 bits per channel.

In: a PIL image from `opening`, and the bytes that it came from. Out: a PIL image in mode L, RGB, CMYK or YCbCr. What is
transparent, or covered by no frame of an animation, becomes white, because catalogs are shown on white.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from pipeline.errors import ImageError
from pipeline.images.png import ColourKey, colour_key, has_transparency
from pipeline.vocabulary import Reason

_RESIZABLE_MODES = frozenset({"L", "RGB", "CMYK", "YCbCr"})
_ORIENTATION = 0x0112
#: What undoes the transposition that Pillow applies for each orientation of a TIFF, and for no other format.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_WEBP_ANIMATED = 0x02


def plain(image: Image.Image, data: bytes) -> Image.Image:
    """Decode `image`, which was opened from `data`, to a mode that can be resized directly.

    Raises:
        ImageError: `unsupported_mode`. Errors of the decoder pass.
    """
    box = _covered(image, data)
    found = _opaque(_as_stored(image), data)
    if box is None or box == (0, 0, *found.size):
        return found
    white = Image.new(found.mode, found.size, "white")
    white.paste(found.crop(box), box)
    return white


def _as_stored(image: Image.Image) -> Image.Image:
    """`image`, decoded and never turned."""
    turned = image.getexif().get(_ORIENTATION) if isinstance(image, TiffImagePlugin.TiffImageFile) else None
    image.load()
    return image.transpose(_UNDO[turned]) if turned in _UNDO else image


def _covered(image: Image.Image, data: bytes) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of an animation's first frame, which may be smaller than the canvas."""
    if image.format == "GIF" and isinstance(image, ImageFile.ImageFile) and image.tile:
        return image.tile[0][1]
    if image.format != "WEBP" or data[12:16] != b"VP8X" or not data[20] & _WEBP_ANIMATED:
        return None
    frame = data.find(b"ANMF", 30) + 8
    if frame < 38:
        return None
    x, y, width, height = (int.from_bytes(data[at : at + 3], "little") for at in range(frame, frame + 12, 3))
    return 2 * x, 2 * y, 2 * x + width + 1, 2 * y + height + 1


def _opaque(image: Image.Image, data: bytes) -> Image.Image:
    """No transparency, no palette, 8 bits per channel."""
    key = None
    if image.format == "PNG" and "transparency" in image.info:
        key = colour_key(data)
        if key or not has_transparency(data):
            del image.info["transparency"]
    if image.mode.startswith("I;16") or image.mode == "I":
        return _grey_from_16_bits(image, key)
    if key:
        return _without_colour(image, key, data)
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode in _RESIZABLE_MODES:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "LAB", "HSV"):
        return image.convert("RGB")
    raise ImageError(Reason.UNSUPPORTED_MODE, f"pixels of mode {image.mode}: convert the image to 8-bit RGB or grey")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite on white; skipped in the usual case of an alpha channel that is fully opaque."""
    if image.mode == "La":
        image = image.convert("LA")  # Pillow cannot convert La to RGBA directly
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")


def _grey_from_16_bits(image: Image.Image, key: ColourKey | None) -> Image.Image:
    """The high byte of every pixel; the transparent level becomes white."""
    levels = np.asarray(image)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ImageError(Reason.UNSUPPORTED_MODE, f"integers from {low} to {high}: convert the image to 8-bit grey")
    grey = (levels >> 8).astype(np.uint8)
    if key:
        grey[levels == key.levels[0]] = 255
    return Image.fromarray(grey)


def _without_colour(image: Image.Image, key: ColourKey, data: bytes) -> Image.Image:
    """A PNG's grey or RGB pixels with the transparent colour made white. Pillow scales grey below 8 bits to 8."""
    levels = np.asarray(image if image.mode == "RGB" else image.convert("L"))
    if key.depth == 16:
        is_key = _equals(levels, [level >> 8 for level in key.levels])
        if is_key.any():
            is_key &= _equals(_low_bytes(data), [level & 0xFF for level in key.levels])
    else:
        is_key = _equals(levels, [level * 255 // ((1 << key.depth) - 1) for level in key.levels])
    shown = levels.copy()
    shown[is_key] = 255
    return Image.fromarray(shown)


def _equals(pixels: npt.NDArray[np.uint8], levels: list[int]) -> npt.NDArray[np.bool_]:
    """(H, W): which of (H, W) grey or (H, W, 3) RGB pixels have these levels."""
    channels = pixels.reshape(*pixels.shape[:2], -1)
    same = np.full(pixels.shape[:2], True)
    for at, level in enumerate(levels):
        same &= channels[..., at] == level
    return same


def _low_bytes(data: bytes) -> npt.NDArray[np.uint8]:
    """(H, W, 3): the low bytes of a 16-bit RGB PNG. Pillow keeps the first byte of each level, so it is shown the
    levels as if they were stored in the other order.
    """
    with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
        if isinstance(image, ImageFile.ImageFile):
            image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.asarray(image)
