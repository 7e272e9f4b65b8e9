"""Images inside text: `data:` URIs and plain base64.

In: text. Out: whether it is an image in this sense, a short marker that stands for it, and its bytes.
"""

from __future__ import annotations

import binascii
import re
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

#: Without `data:`, a text this short is taken for a path.
_SHORTEST = 48
#: No path is this long without a dot, so no signature is needed to know that it is base64.
_NO_PATH = 1024
_BASE64 = re.compile(rf"[A-Za-z0-9+/_\-\s]{{{_SHORTEST - 2},}}=*\s*")
_HEAD = 32
#: How encoded images begin: JPEG, PNG, GIF, WebP, BMP, TIFF, HEIF and AVIF, JPEG XL, JPEG 2000. The two
#: bytes of a bare JPEG XL codestream are left out, since `/work...` decodes to them.
_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n|GIF8|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|\0\0..ftyp|\0\0\0\x0c(JXL |jP  )",
    re.DOTALL,
)
_MEDIA_TYPE = re.compile(r"data:([\w.+-]{1,40}/[\w.+-]{1,40})", re.IGNORECASE)
_BLANKS = re.compile(rb"\s+")
_URLSAFE = bytes.maketrans(b"-_", b"+/")


def is_inline(text: str) -> bool:
    """Whether `text` is an image, and not an address of one."""
    if text[:5].lower() == "data:":
        return True
    if len(text) < _SHORTEST or not _BASE64.fullmatch(text):
        return False
    if len(text) > _NO_PATH:
        return True
    try:
        return bool(_IMAGE.match(decode_base64(text[:_HEAD].encode())))
    except ValueError:
        return False


def marker(text: str) -> str:
    """What is stored in place of an inline image: its media type, if it has one, and a digest of the text."""
    named = _MEDIA_TYPE.match(text)
    return f"data:{named[1].lower() if named else ''}#{digest(text)}"


def digest(text: str) -> str:
    """32 hex digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def decode_inline(text: str) -> bytes:
    """The bytes of an inline image.

    Raises:
        ValueError: it is not a `data:` URI, or not base64.
    """
    if text[:5].lower() != "data:":
        return decode_base64(_BLANKS.sub(b"", text.encode()))
    head, comma, body = text.partition(",")
    if not comma:
        raise ValueError("it has no comma")
    data = unquote_to_bytes(body)
    return decode_base64(_BLANKS.sub(b"", data)) if head.rstrip().lower().endswith(";base64") else data


def decode_base64(encoded: bytes) -> bytes:
    """Decode base64 in the standard or the URL-safe alphabet, with or without padding.

    Raises:
        ValueError: it is not base64.
    """
    plain = encoded.translate(_URLSAFE)
    return binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
