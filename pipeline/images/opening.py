"""Opens encoded images with the decoder of their format, and turns every failure into an `ImageError`.

In: bytes. Out: a PIL image that is not decoded yet. The first bytes decide which decoder is tried, and name what is
there instead of an image. A HEIC decoder is an extra, looked for when the first HEIC comes.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec

from PIL import BmpImagePlugin, IcoImagePlugin, Image, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import ImageError
from pipeline.extras import install_command
from pipeline.images.boxes import unrotated
from pipeline.images.damage import damage
from pipeline.images.formats import FORMATS, FileFormat, format_of
from pipeline.images.png import without_invalid_transparency
from pipeline.vocabulary import Reason

Image.init()
with suppress(ImportError):  # Pillow has this plugin from version 11.3 on
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # Several decoders share the cores. By default each would use all of them.
# Pillow reads dozens of formats, one of them (EPS) by starting another program. These are the formats of catalogs.
_WITH_PILLOW = tuple(known.decoder for known in FORMATS if known.decoder in Image.OPEN and not known.extra)
#: Formats without a signature: bytes that their decoder refuses are something else.
_UNSIGNED = ("TGA", "DIB")
_SIGNED = tuple(name for name in _WITH_PILLOW if name not in _UNSIGNED)
_READ = ", ".join(known.name for known in FORMATS if known.decoder)

# `opened` checks the size in the header, and exceptions report damage; Pillow's warnings would only fill the logs.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_HEIF_PACKAGE = "pillow_heif"
_PNG = b"\x89PNG\r\n\x1a\n"
_PREPARED = {"PNG": without_invalid_transparency, "HEIC": unrotated}


@contextmanager
def opened(data: bytes, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """The image, for decoding inside the context.

    Raises:
        ImageError: `not_an_image`; `unsupported_format`; `too_many_pixels`, by the header; and for errors inside the
            context `truncated`, `unsupported_format` or `unreadable`.
    """
    known = format_of(data)
    try:
        if known is not None and known.name == "ICO":
            _check_size(_icon_size(data), max_pixels)
        with _open(data, known) as image:
            _check_size(image.size, max_pixels)
            yield image
    except (ImageError, MemoryError):  # memory is the machine's, and says nothing about the image
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_MANY_PIXELS, f"{error}") from error
    except Exception as error:  # on damaged input, Pillow's plugins raise nearly every built-in exception
        raise damage(data, known, error) from error


def pixel_count(data: bytes, max_pixels: int) -> int:
    """Pixels of an encoded image, by its header. Raises ImageError as `opened` does."""
    with opened(data, max_pixels) as image:
        return image.width * image.height


def raise_pillow_limit(max_pixels: int) -> None:
    """Raise Pillow's own limit to ours. It stays active for tiles and frames inside a file."""
    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels


def _check_size(size: tuple[int, int], max_pixels: int | None) -> None:
    width, height = size
    if max_pixels is not None and width * height > max_pixels:
        message = f"{width} x {height} is more than --max-pixels {max_pixels}"
        raise ImageError(Reason.TOO_MANY_PIXELS, message)


def _icon_size(data: bytes) -> tuple[int, int]:
    """Of the picture in an icon that Pillow takes, by the picture's own header.

    Pillow decodes it when it opens the file, and the file's directory knows no side above 256.
    """
    file = io.BytesIO(data)
    start = IcoImagePlugin.IcoFile(file).entry[0].offset
    file.seek(start)
    if data.startswith(_PNG, start):
        return PngImagePlugin.PngImageFile(file).size
    width, height = BmpImagePlugin.DibImageFile(file).size
    return width, height // 2  # the other half is its mask


def _open(data: bytes, known: FileFormat | None) -> Image.Image:
    if known is None:
        return _open_unknown(data, _SIGNED)
    if known.decoder is None:
        raise _unread(data, known)
    if known.extra:
        _require_heif(known)
    elif known.decoder not in _WITH_PILLOW:
        raise ImageError(Reason.UNSUPPORTED_FORMAT, f"{known.name}, which this Pillow does not read: upgrade Pillow")
    if known.decoder in _UNSIGNED:
        return _open_unknown(data, (known.decoder,))
    prepare = _PREPARED.get(known.name)
    return _open_known(prepare(data) if prepare else data, known.decoder)


def _open_known(data: bytes, decoder: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=(decoder,))
    except UnidentifiedImageError as error:
        factory, _ = Image.OPEN[decoder]
        factory(io.BytesIO(data), "").close()  # raises the cause, which `Image.open` hides
        raise ValueError("its header cannot be read") from error


def _open_unknown(data: bytes, decoders: tuple[str, ...]) -> Image.Image:
    """Try decoders on bytes without a known signature."""
    try:
        return Image.open(io.BytesIO(data), formats=decoders)
    except UnidentifiedImageError as error:
        what = f"{len(data)} bytes that begin with {data[:12]!r}" if data else "no bytes at all"
        raise ImageError(Reason.NOT_AN_IMAGE, f"{what}; images are read from {_READ}") from error


def _unread(data: bytes, known: FileFormat) -> ImageError:
    """The error for a format without a decoder."""
    if known.is_picture:
        cure = "convert the image to JPEG or PNG"
        return ImageError(Reason.UNSUPPORTED_FORMAT, f"{known.name}, which is not read: {cure}")
    return ImageError(Reason.NOT_AN_IMAGE, f"{len(data)} bytes of {known.name}; images are read from {_READ}")


def _require_heif(known: FileFormat) -> None:
    """Register the plugin. Raises ImageError without it."""
    if known.decoder in Image.OPEN:
        return
    if find_spec(_HEIF_PACKAGE) is None:
        cure = f"it needs the extra {known.extra}, hanclip[{known.extra}]: {install_command(str(known.extra))}"
        raise ImageError(Reason.UNSUPPORTED_FORMAT, f"{known.name}, which is not read here: {cure}")
    options = {"thumbnails": False, "depth_images": False, "aux_images": False, "decode_threads": 1}
    import_module(_HEIF_PACKAGE).register_heif_opener(**options)
