r"""Parses a reference to an image, as a table contains it: the only place that decides what such a text means.

In: the text, and the address of its table. Out: an `ImageReference`: an address to read, an image inside the text, or a
problem. What was collected from web pages is repaired where only one meaning is possible:

    ` http://host/a.jpg`, with BOM or zero-width characters    without them
    `//host/a.jpg`                                             https://host/a.jpg
    `http:\\host\a.jpg`                                        http://host/a.jpg, as browsers read it
    `http://host/a.jpg?w=1&amp;h=2`                            w=1&h=2: the markup of the page that it came from
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from pipeline import storage
from pipeline.credentials import without_credentials
from pipeline.errors import BadUriError, TooLargeError
from pipeline.sources.references.inline import decode_inline, digest, is_inline, marker

#: Schemes that references may have. Other fsspec schemes can reach any host or wrap any other address.
_SCHEMES = frozenset({"file", "s3", "s3a", "gs", "gcs", "az", "http", "https"})
_WEB = frozenset({"http", "https"})
#: Blanks of any script, BOM, zero-width and directional marks.
_INVISIBLE = string.whitespace + "\0\x85\xa0\xad\u1680\u180e\u2028\u2029\u202f\u205f\u2060\u3000\ufeff" + "".join(
    map(chr, [*range(0x2000, 0x2010), *range(0x202A, 0x202F)])
)  # fmt: skip
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):[/\\]{2}")
_HOST = re.compile(r"[/\\]{2}[^/\\\s]+\.[^/\\\s]*[/\\]")
_TO_QUERY = re.compile(r"[^?#]+")
_NO_ADDRESS = re.compile(r"(blob|about|javascript|mailto|cid|content):|<|[A-Za-z]:\\", re.IGNORECASE)
#: Servers refuse longer URLs, and no path is longer.
_LONGEST = 8192
#: Characters of a text that is no address which are stored and shown.
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class ImageReference:
    """What a reference means.

    Attributes:
        stored: what records hold in its place: an address without credentials, or a marker of at most 200 characters.
        uri: the address to read; None if there is none.
        inline: the text that the image is in; None if it is elsewhere.
        problem: why it is neither, with the cure.
    """

    stored: str
    uri: str | None = None
    inline: str | None = None
    problem: str = ""

    def decode(self, max_bytes: int) -> bytes:
        """The image inside the text.

        Raises:
            TooLargeError: it has more than `max_bytes`.
            BadUriError: it cannot be decoded.
        """
        text = self.inline or ""
        try:
            data = decode_inline(text)
        except ValueError as error:
            raise BadUriError(
                f"{shown(text)} begins like an image in the text, but {error}. Correct the table.", self.stored
            ) from error
        if len(data) > max_bytes:
            raise TooLargeError(too_large(data, max_bytes), self.stored)
        return data


def parse(written: str, container: str) -> ImageReference | None:
    """What `written` in the table `container` means; None if it is blank."""
    text = written.strip(_INVISIBLE)
    if not text:
        return None
    if is_inline(text):
        return ImageReference(marker(text), inline=text)
    if len(text) > _LONGEST or "\0" in text:
        return _bad(text, f"{shown(text)} is too long for an address, or has characters that none can have")
    if _HOST.match(text):
        text = f"https:{text}"
    found = _SCHEME.match(text)
    if found:
        return _url(text, found[1].lower(), container)
    if _is_no_address(text):
        return _bad(text, f"{shown(text)} is neither an address nor a path")
    path = _path(written, text, storage.parent(container))
    return ImageReference(without_credentials(path), path)


def stored_id(written: str) -> str:
    """An id as records hold it: without credentials, and short if it is an image or too long for an address."""
    text = written.strip(_INVISIBLE)
    if is_inline(text):
        return marker(text)
    return shown(written) if len(written) > _LONGEST else without_credentials(written)


def shown(text: str) -> str:
    """`text` without credentials; a long one as its beginning, its length and a digest."""
    plain = without_credentials(text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}... ({len(text):,} characters, {digest(text)})"


def _url(text: str, scheme: str, container: str) -> ImageReference:
    if scheme not in _SCHEMES | {storage.scheme(container)}:
        return _bad(text, f"{shown(text)} has a scheme that tables may not use")
    return ImageReference(without_credentials(text), _repaired(text) if scheme in _WEB else text)


def _repaired(url: str) -> str:
    if "\\" in url:
        url = _TO_QUERY.sub(lambda found: found[0].replace("\\", "/"), url, count=1)
    return url.replace("&amp;", "&")


def _is_no_address(text: str) -> bool:
    return not text.startswith("/") and ("://" in text or bool(_NO_ADDRESS.match(text)))


def _bad(text: str, problem: str) -> ImageReference:
    return ImageReference(shown(text), problem=f"{problem}. Correct the table.")


def _path(written: str, text: str, folder: str) -> str:
    """The address of a path: absolute, or relative to the table's folder.

    On disk a file whose name has the blanks or backslashes as written comes first.
    """
    address = _in_folder(text, folder)
    if (written == text and "\\" not in text) or not storage.is_local(address):
        return address
    spellings = [_in_folder(one, folder) for one in (written, text, text.replace("\\", "/"))]
    return next((path for path in spellings if "\0" not in path and storage.find_local(path)), spellings[-1])


def _in_folder(text: str, folder: str) -> str:
    return storage.normalise(text if text.startswith("/") else storage.join(folder, text))


def too_large(image: bytes, max_bytes: int) -> str:
    """The message for an image that a table contains and that has more than `max_bytes`."""
    return f"The image has {len(image):,} bytes, more than {max_bytes:,}. Raise --max-image-bytes to read it."
