"""What is said of images that cannot be decoded: first bytes name the format, its structure names the damage."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.decode import decode
from pipeline.images.formats import FORMATS
from pipeline.images.opening import opened
from pipeline.vocabulary import Reason

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize((96, 72))


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PICTURE.save(file, kind, **options)
    return file.getvalue()


def refusal(data: bytes) -> tuple[Reason, str]:
    with pytest.raises(ImageError) as caught:
        decode(data, 32, 10_000)
    return caught.value.reason, caught.value.detail


WHOLE = {
    "JPEG": encoded("JPEG"),
    "PNG": encoded("PNG"),
    "GIF": encoded("GIF"),
    "WebP": encoded("WEBP"),
    "AVIF": encoded("AVIF"),
    "HEIC": (Path(__file__).parents[3] / "fixtures" / "turned.heic").read_bytes(),
    "TIFF": encoded("TIFF"),
    "TIFF, LZW": encoded("TIFF", compression="tiff_lzw"),
    "TIFF, deflate, big": encoded("TIFF", compression="tiff_deflate", big_tiff=True),
    "JPEG 2000": encoded("JPEG2000"),
    "JPEG 2000, codestream": encoded("JPEG2000", no_jp2=True),
    "BMP": encoded("BMP"),
    "DIB": encoded("DIB"),
    "PPM": encoded("PPM"),
    "ICO": encoded("ICO", sizes=[(48, 48)]),
    "QOI": encoded("QOI"),
    "TGA": encoded("TGA"),
    "TGA, run lengths": encoded("TGA", compression="tga_rle"),
}


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("name", WHOLE)
def test_a_cut_file_is_truncated(name: str, share: float) -> None:
    if name == "HEIC":
        pytest.importorskip("pillow_heif")
    whole = WHOLE[name]
    assert decode(whole, 32, 10_000).width in (96, 64, 48)
    reason, detail = refusal(whole[: int(len(whole) * share)])
    assert reason == Reason.TRUNCATED, detail
    assert detail.startswith(name.partition(",")[0])


@pytest.mark.parametrize("missing", [1, 3, 30])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits", "jpeg", "zstd"])
def test_a_tiff_cut_in_its_directory_or_values_at_the_end_is_truncated(compression: str, missing: int) -> None:
    whole = encoded("TIFF", compression=compression)
    reason, detail = refusal(whole[:-missing])
    assert reason == Reason.TRUNCATED, detail


def test_every_format_that_is_read_is_cut_above() -> None:
    assert {known.name for known in FORMATS if known.decoder} == {name.partition(",")[0] for name in WHOLE}


def frame(at: int, value: int) -> bytes:
    """A JPEG with one byte after its frame's marker (0xFF, 0xC0) changed."""
    data = bytearray(WHOLE["JPEG"])
    data[data.index(b"\xff\xc0") + at] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (frame(4, 12), "JPEG .*12 bits"),
        (frame(1, 0xC3), "lossless JPEG"),
        (frame(1, 0xF7), "JPEG-LS"),
        (frame(1, 0xC5), "hierarchical JPEG"),
        (frame(6, 0), "JPEG .*height"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"8BPS\0\1" + bytes(40), "Photoshop"),
        (b"II\xbc\1" + bytes(40), "JPEG XR"),
    ],
)
def test_pictures_that_no_decoder_reads_are_named(data: bytes, named: str) -> None:
    with pytest.raises(ImageError, match=rf"unsupported_format: .*{named}.*: convert the image"):
        decode(data, 32, 10_000)


def test_a_directory_far_beyond_the_file_is_a_cut_file() -> None:
    assert refusal(b"II+\0\x08\0\0\0" + b"\xff" * 8 + bytes(40))[0] == Reason.TRUNCATED


def test_a_tiff_cut_before_its_colours_is_truncated() -> None:
    file = io.BytesIO()
    PICTURE.quantize(16).save(file, "TIFF")
    assert refusal(file.getvalue()[:300])[0] == Reason.TRUNCATED


def test_tiffs_of_unread_kinds_are_named() -> None:
    data = bytearray(encoded("TIFF"))
    data[data.index(b"\x03\x01\x03\0\1\0\0\0") + 8] = 99  # the tag of the compression
    assert refusal(bytes(data))[0] == Reason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.4 ...", "PDF"),
        (b"<!doctype html><p>404", "HTML"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), "MP4"),
        (b'{"error": 404}', "JSON"),
    ],
)
def test_what_is_there_in_place_of_an_image_is_named(data: bytes, named: str) -> None:
    reason, detail = refusal(data)
    assert reason == Reason.NOT_AN_IMAGE
    assert named in detail
    assert "images are read from JPEG, PNG" in detail


def test_a_png_cut_in_a_chunk_before_its_pixels_is_truncated() -> None:
    data = WHOLE["PNG"][:33] + b"\0\0\0\xd7tRNSS2"
    assert refusal(data)[0] == Reason.TRUNCATED


def test_bytes_that_look_like_a_format_without_signature_are_no_image() -> None:
    assert refusal(b"\0\1\1\0\0\0\0\0\0\0\0\0\4\0\4\0\x08\0" + bytes(500))[0] == Reason.NOT_AN_IMAGE


def test_heic_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    reason, detail = refusal(WHOLE["HEIC"])
    assert reason == Reason.UNSUPPORTED_FORMAT
    assert detail.startswith("HEIC")
    assert "hanclip[heif]" in detail


@pytest.mark.parametrize("missing", [1, 2, 300])
@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
def test_a_jpeg_without_its_end_is_accepted_on_demand(options: dict[str, bool], missing: int) -> None:
    whole = encoded("JPEG", **options)
    cut = whole[:-missing]
    assert refusal(cut)[0] == Reason.TRUNCATED
    found = decode(cut, 32, 10_000, accept_truncated=True)
    assert found.is_truncated
    assert (found.width, found.height) == (96, 72)
    complete = decode(whole, 32, 10_000, accept_truncated=True)
    assert not complete.is_truncated
    rows = 32 if missing < 3 else 8
    difference = np.abs(found.pixels[:rows].astype(int) - complete.pixels[:rows])
    assert difference.max() <= (0 if missing < 3 else 60)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP"])
def test_a_file_of_which_nothing_decodes_stays_truncated(name: str) -> None:
    with pytest.raises(ImageError, match="truncated"):
        decode(WHOLE[name][:200], 32, 10_000, accept_truncated=True)


def icon(picture: bytes) -> bytes:
    """An ICO whose directory says that its picture has 16 x 16 pixels."""
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(picture), 22)
    return b"\0\0\1\0\1\0" + entry + picture


PNG_HEADER = struct.pack(">IIBBBBB", 5000, 4000, 8, 6, 0, 0, 0)


@pytest.mark.parametrize(
    "picture",
    [
        # Headers alone: to decode either would fail.
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
        + PNG_HEADER
        + zlib.crc32(b"IHDR" + PNG_HEADER).to_bytes(4, "big")
        + b"\0\0\0\1IDAT",
        struct.pack("<IiiHHIIiiII", 40, 5000, 8000, 1, 24, 0, 0, 0, 0, 0, 0),
    ],
    ids=["PNG", "bitmap"],
)
def test_an_icon_has_the_size_of_its_picture_and_is_refused_undecoded(picture: bytes) -> None:
    assert refusal(icon(picture)) == (Reason.TOO_MANY_PIXELS, "5000 x 4000 is more than --max-pixels 10000")


def test_a_lack_of_memory_is_not_the_images_fault() -> None:
    """A decoder then fails as a whole, and its records are tried again."""
    with pytest.raises(MemoryError), opened(WHOLE["PNG"]):
        raise MemoryError
