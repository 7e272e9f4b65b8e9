"""Decodes image bytes to model-sized RGB pixels, exactly as in Chinese CLIP's training. The only module that uses PIL.

The image is resized to a square with Pillow's bicubic filter, without crop or padding. The rules and their reasons:

- *Resize in the source mode, then convert to RGB* (L, RGB, CMYK, YCbCr), as in training. RGB and grey are bit-exact
  with transformers' `ChineseCLIPImageProcessorPil`, which converts first. CMYK differs from it by at most 2 levels;
  YCbCr, which only TIFF files have, by 6 at edges of strong colours and by less than half a level on average.
- *Transparency becomes white* (alpha, palettes and PNG tRNS) before the resize: catalogs are shown on white, and
  transformers 5 does the same, bit for bit. Palettes and 1-bit images are first converted to RGB or grey, as there.
- *16-bit grey is scaled* to 8 bits (>> 8). A plain conversion would clip nearly every value to white.
- *Floating-point pixels* and integers above 16 bits are refused, because they have no agreed range.
- *No EXIF rotation, no ICC conversion*: the published vectors were made without them. First frame only.
- No JPEG `draft` decoding, which is faster but changes pixels.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xxhash
from PIL import Image, UnidentifiedImageError

from pipeline.errors import ImageError
from pipeline.images.phash import phash
from pipeline.vocabulary import Reason

Image.init()
# Pillow reads dozens of formats, one of them (EPS) by starting another program. These are the formats of catalogs.
_ALLOWED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")
FORMATS = tuple(name for name in _ALLOWED if name in Image.OPEN)

# `decode` checks the size in the header, and exceptions report damage; Pillow's warnings would only fill the logs.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

_RESIZABLE_MODES = frozenset({"L", "RGB", "CMYK", "YCbCr"})


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One image, ready for the model.

    Attributes:
        pixels: (N, N, 3) uint8 RGB, C-contiguous, read-only.
        width, height: in pixels, before resizing; an EXIF rotation is not applied.
        phash: 64-bit perceptual hash of `pixels`, see `pipeline.images.phash`.
        pixels_xxh128: XXH3 digest of `pixels`, 32 hex digits; equal for an image that was re-encoded without loss.
    """

    pixels: npt.NDArray[np.uint8]
    width: int
    height: int
    phash: int
    pixels_xxh128: str


def decode(data: bytes, size: int, max_pixels: int) -> DecodedImage:
    """Decode one image to `size` x `size` RGB pixels. Safe to call from several threads.

    Raises:
        ImageError: `not_an_image`, `too_many_pixels` (by the header, before decoding), `truncated`,
            `unsupported_mode`, or `unreadable` for any other error of the decoder.
    """
    _raise_pillow_limit(max_pixels)
    try:
        with _open(data) as image:
            _check_size(image.width, image.height, max_pixels)
            image.load()
            squashed = _squash(image, size)
            pixels = np.ascontiguousarray(squashed, dtype=np.uint8)
            return DecodedImage(
                pixels, image.width, image.height, phash(pixels), xxhash.xxh3_128_hexdigest(pixels.data)
            )
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{error}") from error
    except Exception as error:  # on damaged input, Pillow's plugins raise nearly every built-in exception
        raise _damaged(data, error) from error


def preprocessing_id(size: int, mean: Sequence[float], std: Sequence[float]) -> str:
    """Name of the processing from bytes to the model's input; part of a dataset's identity.

    The last part is a version, raised when a change of `decode` changes pixels. Example: `squash-bicubic-224/white/v1`;
    means and deviations other than CLIP's append a hash of them.
    """
    name = f"squash-bicubic-{size}/white/v1"
    values = [float(value) for value in (*mean, *std)]
    if np.allclose(values, CLIP_MEAN + CLIP_STD, rtol=0, atol=1e-6):
        return name
    return f"{name}/{hashlib.sha256(repr(values).encode()).hexdigest()[:12]}"


def _raise_pillow_limit(max_pixels: int) -> None:
    """Raise Pillow's own limit to ours. It stays active for tiles and frames inside a file."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if _format_of(data):
            raise
        what = f"{len(data)} bytes that begin with {data[:12]!r}" if data else "no bytes at all"
        raise ImageError(Reason.NOT_AN_IMAGE, f"{what}; images are read from {', '.join(FORMATS)}") from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{width} x {height} is more than --max-pixels {max_pixels}")


def _squash(image: Image.Image, size: int) -> Image.Image:
    """`image` as RGB of `size` x `size` pixels, by the rules in the module docstring."""
    image = _plain(image)
    squashed = image.resize((size, size), Image.Resampling.BICUBIC)
    return squashed if squashed.mode == "RGB" else squashed.convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    """`image` in a mode that can be resized directly: no transparency, no palette, 8 bits per channel."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return _grey_from_16_bits(image)
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


def _grey_from_16_bits(image: Image.Image) -> Image.Image:
    """The high byte of every pixel; the value that a PNG declares as transparent becomes white."""
    levels = np.asarray(image)
    low, high = int(levels.min()), int(levels.max())
    if low < 0 or high > 65535:
        raise ImageError(Reason.UNSUPPORTED_MODE, f"integers from {low} to {high}: convert the image to 8-bit grey")
    grey = (levels >> 8).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Image.fromarray(grey)


def _damaged(data: bytes, error: Exception) -> ImageError:
    """The error for bytes that begin like an image and cannot be decoded."""
    kind = _format_of(data) or "image"
    cut = "truncated" in str(error).lower() or isinstance(error, EOFError) or _ends_early(data, kind)
    header = isinstance(error, UnidentifiedImageError)
    message = "its header cannot be read" if header else f"{error or type(error).__name__}"
    return ImageError(Reason.TRUNCATED if cut else Reason.UNREADABLE, f"{kind} of {len(data)} bytes: {message}")


def _format_of(data: bytes) -> str | None:
    """The format by the first bytes, for the four formats of nearly all images on the web."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    return "WebP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _ends_early(data: bytes, kind: str) -> bool:
    """Whether the format's end marker is missing."""
    if kind == "WebP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    markers = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b";"}
    return kind in markers and not data.rstrip(b"\0\r\n").endswith(markers[kind])


_THUMBNAIL_QUALITY = 72


def thumbnail(data: bytes, side: int) -> bytes:
    """The image on white as a WebP that fits into `side` x `side` pixels; never enlarged.

    For display, not for the model: a JPEG is decoded at a fraction of its size.

    Raises:
        ImageError: as for `decode`.
    """
    try:
        with _open(data) as image:
            image.draft("RGB", (2 * side, 2 * side))
            small = _plain(image)
            small = small if small.mode in ("RGB", "L") else small.convert("RGB")
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            encoded = io.BytesIO()
            small.save(encoded, "WEBP", quality=_THUMBNAIL_QUALITY)
            return encoded.getvalue()
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{error}") from error
    except Exception as error:  # as in `decode`
        raise _damaged(data, error) from error
