"""The table of file formats: names, suffixes, first bytes, and which decoder reads them.

In: the bytes or the name of a file. Out: its `FileFormat`, whether it is read or not, so that messages can name what is
there. Bytes decide what a file is; suffixes only decide what is listed. Imports no decoder, so planning can use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_HEAD_BYTES = 1024
_Test = Callable[[bytes], bool]


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One file format.

    Attributes:
        name: what messages call it.
        matches: whether the first bytes of a file are those of the format.
        suffixes: of file names, lower case, without the dot.
        decoder: Pillow's name of the plugin that reads it; None if hanclip does not read it.
        extra: the extra of hanclip that brings the plugin; None if Pillow has it.
        is_picture: it holds pixels. False for documents, drawings, videos and archives.
    """

    name: str
    matches: _Test
    suffixes: tuple[str, ...] = ()
    decoder: str | None = None
    extra: str | None = None
    is_picture: bool = True


def format_of(data: bytes) -> FileFormat | None:
    """The format of a file by its first bytes; None if they are not known."""
    head = data[:_HEAD_BYTES]
    return next((known for known in FORMATS if known.matches(head)), None)


def _starts(*prefixes: bytes) -> _Test:
    return lambda head: head.startswith(prefixes)


def _riff(kind: bytes) -> _Test:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == kind


#: Brands of the container that say nothing about the codec; the compatible brands after them do.
_ANY_CODEC = frozenset({b"mif1", b"msf1", b"mif2", b"miaf", b"MiHE", b"MiHB"})


def _brands(head: bytes) -> list[bytes]:
    """The brands of an ISO media file (HEIF, AVIF, MP4), the most specific ones first; empty for other files."""
    if head[4:8] != b"ftyp":
        return []
    compatible = head[16 : int.from_bytes(head[:4], "big")]
    brands = [head[8:12], *(compatible[at : at + 4] for at in range(0, len(compatible) - 3, 4))]
    return brands if brands[0] in _ANY_CODEC else brands[:1]


def _brand(*wanted: bytes) -> _Test:
    return lambda head: not set(wanted).isdisjoint(_brands(head))


_BITMAP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # sizes in bytes


def _is_bmp(head: bytes) -> bool:
    """Two letters are too weak a signature, so the size of the second header is checked where it is there."""
    return head[:2] == b"BM" and (len(head) < 18 or int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS)


def _is_dib(head: bytes) -> bool:
    """A bitmap without BMP's first header: the size of its header, and one colour plane."""
    size = int.from_bytes(head[:4], "little")
    return size in _BITMAP_HEADERS and (head[8:10] if size == 12 else head[12:14]) == b"\1\0"


def _is_tga(head: bytes) -> bool:
    """TGA has no signature, so every field of its header that has few possible values is checked."""
    if len(head) < 18:
        return False
    kinds = {0: (2, 3, 10, 11), 1: (1, 9)}.get(head[1], ())  # with a colour map or without
    sides = (head[12:14], head[14:16])
    return head[2] in kinds and b"\0\0" not in sides and head[16] in (1, 8, 16, 24, 32) and head[17] < 0x40


def _text(pattern: str) -> _Test:
    """Matches the beginning of a text, after blanks and a byte order mark, in any case."""
    regex = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:" + pattern.encode() + rb")", re.IGNORECASE | re.DOTALL)
    return lambda head: regex.match(head) is not None


_HEVC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")


def _picture(
    name: str, suffixes: str, matches: _Test, decoder: str | None = None, extra: str | None = None
) -> FileFormat:
    return FileFormat(name, matches, tuple(suffixes.split()), decoder, extra)


def _other(name: str, suffixes: str, matches: _Test) -> FileFormat:
    return FileFormat(name, matches, tuple(suffixes.split()), is_picture=False)


#: Read by hanclip, then pictures that it does not read, then everything else that is found in place of images. The
#: first match counts, so formats with weak signatures come last.
FORMATS = (
    _picture("JPEG", "jpg jpeg jpe jfif jif pjpeg pjp mpo", _starts(b"\xff\xd8\xff"), "JPEG"),
    _picture("PNG", "png apng", _starts(b"\x89PNG\r\n\x1a\n"), "PNG"),
    _picture("WebP", "webp", _riff(b"WEBP"), "WEBP"),
    _picture("GIF", "gif", _starts(b"GIF87a", b"GIF89a"), "GIF"),
    _picture("AVIF", "avif avifs", _brand(b"avif", b"avis"), "AVIF"),
    _picture("HEIC", "heic heif heics heifs hif", _brand(*_HEVC, *_ANY_CODEC), "HEIF", "heif"),
    _picture("TIFF", "tif tiff", _starts(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*"), "TIFF"),
    _picture(
        "JPEG 2000",
        "jp2 j2k j2c jpc jpf jpx",
        _starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
        "JPEG2000",
    ),
    _picture("QOI", "qoi", _starts(b"qoif"), "QOI"),
    _picture("JPEG XL", "jxl", _starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")),
    _picture("JPEG XR", "jxr wdp hdp", _starts(b"II\xbc")),
    _picture("Photoshop (PSD)", "psd psb", _starts(b"8BPS")),
    _picture("OpenEXR", "exr", _starts(b"\x76\x2f\x31\x01")),
    _picture("Radiance HDR", "hdr", _starts(b"#?RADIANCE", b"#?RGBE")),
    _picture("DirectDraw surface (DDS)", "dds", _starts(b"DDS ")),
    _picture("Apple icon (ICNS)", "icns", _starts(b"icns")),
    _picture("BPG", "bpg", _starts(b"BPG\xfb")),
    _picture("GIMP (XCF)", "xcf", _starts(b"gimp xcf")),
    _picture("SGI", "sgi rgb bw", _starts(b"\x01\xda\0", b"\x01\xda\1")),
    _picture("Sun raster", "ras", _starts(b"\x59\xa6\x6a\x95")),
    _picture("FITS", "fits fit", _starts(b"SIMPLE  =")),
    _picture("DICOM", "dcm", lambda head: head[128:132] == b"DICM"),
    _picture("camera raw", "cr3 raf rw2 orf", _starts(b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR")),
    _picture("Canon raw", "cr3", _brand(b"crx ")),
    _other("HTML", "html htm", _text("<!doctype html|<html|<head|<body|<script")),
    _other("SVG", "svg", _text(r"<svg|<(\?xml|!--|!doctype svg).*?<svg")),
    _other("HTML", "xhtml", _text(r"<(\?xml|!--).*?<html")),
    _other("XML", "xml", _text(r"<\?xml")),
    _other("JSON", "json", _text(r'\{\s*["}]|\[\s*["{\[\]]')),
    _other("PDF", "pdf", _starts(b"%PDF-")),
    _other("PostScript", "eps ps ai", _starts(b"%!PS", b"\xc5\xd0\xd3\xc6")),
    _other("Windows metafile", "wmf emf", _starts(b"\xd7\xcd\xc6\x9a", b"\1\0\0\0\x6c\0\0\0", b"\1\0\0\0\x58\0\0\0")),
    _other("QuickTime video", "mov", lambda head: head[4:8] in (b"moov", b"wide") or _brands(head) == [b"qt  "]),
    _other("MP4 video", "mp4 m4v 3gp", lambda head: head[4:8] == b"ftyp"),
    _other("Matroska or WebM video", "mkv webm", _starts(b"\x1a\x45\xdf\xa3")),
    _other("AVI video", "avi", _riff(b"AVI ")),
    _other("Flash video", "flv swf", _starts(b"FLV\1", b"FWS", b"CWS", b"ZWS")),
    _other("MPEG video", "mpg mpeg", _starts(b"\0\0\1\xba", b"\0\0\1\xb3")),
    _other(
        "audio",
        "wav mp3 ogg flac m4a",
        lambda head: _riff(b"WAVE")(head) or head[:4] in (b"OggS", b"fLaC", b"ID3\3", b"ID3\4"),
    ),
    _other("ZIP archive", "zip docx xlsx pptx", _starts(b"PK\3\4", b"PK\5\6")),
    _other("gzip file", "gz svgz", _starts(b"\x1f\x8b")),
    _other("RAR archive", "rar", _starts(b"Rar!\x1a\7")),
    _other("7-Zip archive", "7z", _starts(b"7z\xbc\xaf\x27\x1c")),
    _other("xz file", "xz", _starts(b"\xfd7zXZ\0")),
    _other("Zstandard file", "zst", _starts(b"\x28\xb5\x2f\xfd")),
    _other("Git LFS pointer", "", _starts(b"version https://git-lfs.")),
    _picture("BMP", "bmp", _is_bmp, "BMP"),
    _picture(
        "PPM",
        "ppm pgm pbm pnm",
        lambda head: re.match(rb"P[0-6fy]\w{0,4}\s[\d\s#]", head) is not None,
        "PPM",
    ),
    _picture("PCX", "pcx", lambda head: re.match(rb"\n[\x00\x02-\x05]\x01[\x01\x02\x04\x08]", head) is not None),
    _picture("ICO", "ico", _starts(b"\0\0\1\0"), "ICO"),
    _picture("cursor (CUR)", "cur", _starts(b"\0\0\2\0\1\0")),
    _picture("DIB", "dib", _is_dib, "DIB"),
    _picture("TGA", "tga", _is_tga, "TGA"),
)

#: Suffixes of the files that are listed as images: those of every format that is read, some with an extra.
IMAGE_SUFFIXES = frozenset(suffix for known in FORMATS if known.decoder for suffix in known.suffixes)
