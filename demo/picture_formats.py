"""Re-encode drawings in the formats of real catalogs: PNG, WebP and JPEG, also smaller or cropped.

In: an encoded image. Out: the image at most 96 pixels wide, encoded again in the format that the function
is named after. `ENCODERS` are the formats of the catalog, drawn with `ENCODER_WEIGHTS`; `NEAR_COPIES` make
near-duplicates.
"""

import io
from collections.abc import Callable

from PIL import Image

MAX_SIDE_PX = 96


def _rgba(image: bytes, side: int = MAX_SIDE_PX) -> Image.Image:
    picture = Image.open(io.BytesIO(image)).convert("RGBA")
    return picture if picture.width <= side else picture.resize((side, side), Image.Resampling.LANCZOS)


def _on_white(image: bytes) -> Image.Image:
    picture = _rgba(image)
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _encoded(picture: Image.Image, kind: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(image: bytes) -> bytes:
    """Lossless, with alpha."""
    return _encoded(_rgba(image), "PNG", optimize=True)


def palette_png(image: bytes) -> bytes:
    """64 colours, alpha in the palette."""
    return _encoded(_rgba(image).quantize(64, Image.Quantize.FASTOCTREE), "PNG", optimize=True)


def webp(image: bytes) -> bytes:
    """Lossy, with alpha."""
    return _encoded(_rgba(image), "WEBP", quality=88)


def jpeg(image: bytes) -> bytes:
    """Good quality, on white."""
    return _encoded(_on_white(image), "JPEG", quality=90)


def small_jpeg(image: bytes) -> bytes:
    """Poor quality, on white."""
    return _encoded(_on_white(image), "JPEG", quality=60)


def resized_png(image: bytes) -> bytes:
    """Lossless, 48 px wide, on white."""
    return _encoded(_on_white(image).resize((48, 48), Image.Resampling.LANCZOS), "PNG", optimize=True)


def cropped_webp(image: bytes) -> bytes:
    """One pixel cropped from each edge, on white."""
    picture = _on_white(image)
    return _encoded(picture.crop((1, 1, picture.width - 1, picture.height - 1)), "WEBP", quality=90)


Encoder = Callable[[bytes], bytes]
ENCODERS: tuple[tuple[str, Encoder], ...] = (
    ("png", png),
    ("png", palette_png),
    ("webp", webp),
    ("jpg", jpeg),
)
ENCODER_WEIGHTS = (45, 15, 25, 15)
NEAR_COPIES: tuple[tuple[str, str, Encoder], ...] = (
    ("jpeg60", "jpg", small_jpeg),
    ("48px", "png", resized_png),
    ("crop1px", "webp", cropped_webp),
)
