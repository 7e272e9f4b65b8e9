"""The table of formats: what first bytes and suffixes mean. No decoder is involved."""

from __future__ import annotations

import pytest
from PIL import Image

from pipeline.images.formats import FORMATS, IMAGE_SUFFIXES, format_of

HEAD = bytes(64)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("JPEG", b"\xff\xd8\xff\xe0" + HEAD),
        ("WebP", b"RIFF\x10\0\0\0WEBPVP8L" + HEAD),
        ("AVIF", b"\0\0\0\x20ftypavif\0\0\0\0avifmif1" + HEAD),
        ("AVIF", b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + HEAD),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + HEAD),
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + HEAD),
        ("TIFF", b"MM\0+\0\x08\0\0" + HEAD),
        ("JPEG 2000", b"\xff\x4f\xff\x51" + HEAD),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n" + HEAD),
        ("Photoshop (PSD)", b"8BPS\0\1" + HEAD),
        ("SVG", b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a --><svg xmlns="http://www.w3.org/2000/svg">'),
        ("SVG", b"\n <SVG width='1'>"),
        ("HTML", b"\r\n<!DOCTYPE html><html><body><svg></svg>"),
        ("XML", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
        ("JSON", b'{"error": "not found"}'),
        ("PDF", b"%PDF-1.7"),
        ("MP4 video", b"\0\0\0\x18ftypisom\0\0\2\0isomavif" + HEAD),
        ("QuickTime video", b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + HEAD),
        ("Matroska or WebM video", b"\x1a\x45\xdf\xa3" + HEAD),
        ("BMP", b"BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0" + HEAD),
        ("PPM", b"P6 # made by hand\n2 2 255\n" + HEAD),
        ("cursor (CUR)", b"\0\0\2\0\1\0\x20\x20" + HEAD),
        ("TGA", bytes([0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0, 24, 0x20]) + HEAD),
    ],
)
def test_first_bytes_name_the_format(name: str, head: bytes) -> None:
    found = format_of(head)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize("data", [b"", HEAD, b"BMW X5, 2019 model", b"P3 is the third", b"hello", b"{curly", b"II*"])
def test_other_bytes_have_no_format(data: bytes) -> None:
    assert format_of(data) is None


def test_suffixes_that_are_listed_are_those_that_are_read() -> None:
    assert {"jpg", "heic", "tga", "qoi", "j2k"} <= IMAGE_SUFFIXES
    assert IMAGE_SUFFIXES.isdisjoint({"svg", "pdf", "psd", "jxl", "mp4"})
    Image.init()
    with_pillow = {known.decoder for known in FORMATS if known.decoder and not known.extra}
    assert with_pillow <= set(Image.OPEN)
