"""Parses the images and texts of a request; one parser for every route.

    image := "https://..." | "data:image/...;base64,..." | base64
             {"type": "image_url", "image_url": {"url": U}} | {"image_url": U} | {"image": U or base64}
    text  := "..." | {"type": "text", "text": "..."} | {"text": "..."}

These are OpenAI's content parts, Jina's objects, and plain strings. A plain string is a text, unless the route or the
field `modality` says that images are meant: what a string means does not depend on what it looks like.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Literal

from pipeline import storage
from pipeline.errors import HanclipError
from pipeline.serving.errors import ApiError, ErrorCode, refused, too_large, unusable
from pipeline.serving.settings import RequestLimits
from pipeline.sources.texts import is_blank, is_whole
from pipeline.vocabulary import Reason

Modality = Literal["text", "image"]

_DATA_URI = re.compile(r"data:(?P<kind>[^,;]*)(?P<parameters>(?:;[^,;]*)*),", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_WHITE_SPACE = {ord(sign): None for sign in " \t\r\n"}
_FETCHED = ("http", "https")
#: Servers take no more than 8 kB of them.
_MOST_URL_CHARACTERS = 8192
_PARTS = 'Give a string, {"text": ...}, {"image": ...}, or a part such as {"type": "image_url", ...}'


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a request: its encoded bytes, or the URL to fetch.

    Attributes:
        param: where it is in the request, such as `input[3]`.
    """

    param: str
    data: bytes | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a request, as it was given."""

    param: str
    text: str


Item = Image | Text
#: An item, or what is wrong with it.
ParsedItem = Item | ApiError


class ItemParser:
    """Parses the items of one request, and counts them.

    Args:
        limits: of a request.
        lenient: an item that is wrong is returned as its error instead of raised.
    """

    def __init__(self, limits: RequestLimits, lenient: bool = False) -> None:
        self.limits, self._lenient = limits, lenient
        self._counts: dict[type[Item], int] = {Image: 0, Text: 0}

    def items(self, value: Any, param: str, modality: Modality = "text") -> list[ParsedItem]:
        """One item or a list of them; at least one.

        Args:
            value: as parsed from JSON.
            param: the field.
            modality: what plain strings are.

        Raises:
            ApiError: there are none, or too many, or one is wrong.
        """
        several = isinstance(value, list)
        values = value if several else [value]
        _refuse_tokens(values, param)
        if not values:
            raise refused(ErrorCode.INVALID_REQUEST, f"{param} is an empty list. Give at least one item.", param)
        most = max(self.limits.max_texts, self.limits.max_images)
        if len(values) > most:
            raise too_many(param, len(values), most)
        names = [f"{param}[{place}]" if several else param for place in range(len(values))]
        parsed = [self._one(one, name, modality) for one, name in zip(values, names, strict=True)]
        self._count(parsed, param)
        return parsed

    def images(self, value: Any, param: str) -> list[Image]:
        """The same where only images make sense."""
        return [_only(Image, item) for item in self.items(value, param, "image")]

    def texts(self, value: Any, param: str) -> list[Text]:
        """The same where only texts make sense."""
        return [_only(Text, item) for item in self.items(value, param)]

    def _count(self, parsed: list[ParsedItem], param: str) -> None:
        """Raise ApiError if the request has too many with these."""
        kinds: tuple[tuple[type[Item], int, str], ...] = (
            (Image, self.limits.max_images, "images"),
            (Text, self.limits.max_texts, "texts"),
        )
        for kind, most, what in kinds:
            own = sum(isinstance(item, kind) for item in parsed)
            self._counts[kind] += own
            if (count := self._counts[kind]) > most:
                raise too_many(param, count, most, what if own == count else f"{what} with those before it")

    def _one(self, value: Any, param: str, modality: Modality) -> ParsedItem:
        try:
            return self._parsed(value, param, modality)
        except ApiError as error:
            if self._lenient:
                return error
            raise

    def _parsed(self, value: Any, param: str, modality: Modality) -> Item:
        if isinstance(value, str):
            return self._image(value, param) if modality == "image" else self._text(value, param)
        if not isinstance(value, dict):
            raise refused(ErrorCode.INVALID_REQUEST, f"{param} is neither a text nor an image. {_PARTS}.", param)
        images = [key for key in ("image", "image_url") if value.get(key) is not None]
        if len(images) + (value.get("text") is not None) != 1:
            what = "several" if images else "neither"
            raise refused(
                ErrorCode.INVALID_REQUEST,
                f"{param} has {what} of text, image and image_url. {_PARTS}, one a vector.",
                param,
            )
        if not images:
            return self._text(_string(value["text"], f"{param}.text"), param)
        return self._image(_address(value[images[0]], f"{param}.{images[0]}"), param)

    def _text(self, text: str, param: str) -> Text:
        if text[:11].lower() == "data:image/":
            cure = 'Give {"image": "data:..."}, or "modality": "image" for the whole request'
            raise refused(ErrorCode.IMAGE_AS_TEXT, f"{param} is an image where a text is expected. {cure}.", param)
        if len(text) > self.limits.max_text_chars:
            raise too_large(param, "the text", self.limits.max_text_chars, "characters")
        if not is_whole(text):
            raise unusable(Reason.BAD_TEXT, param)
        if is_blank(text):
            raise unusable(Reason.EMPTY_TEXT, param)
        return Text(param, text)

    def _image(self, address: str, param: str) -> Image:
        found = _SCHEME.match(address)
        scheme = found[1].lower() if found else None
        if scheme in _FETCHED:
            return Image(param, url=_url(address, param))
        if scheme == "data":
            return Image(param, self._decoded(_of_data_uri(address, param), param))
        if scheme is not None:
            cure = "Give an http(s) URL, a data URI, or base64"
            raise refused(
                ErrorCode.SCHEME_NOT_ALLOWED, f"{param}: images are not read from {scheme}: URLs. {cure}.", param
            )
        return Image(param, self._decoded(address, param))

    def _decoded(self, text: str, param: str) -> bytes:
        most = self.limits.max_image_bytes
        if len(text) > most * 3 // 2 + 4:  # with line breaks
            raise too_large(param, "the image", most, "bytes")
        try:
            data = base64.b64decode(text.translate(_WHITE_SPACE).encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            cure = "Encode the image's bytes as standard base64, with padding"
            raise refused(ErrorCode.BAD_BASE64, f"{param} is neither a URL nor valid base64. {cure}.", param) from error
        if len(data) > most:
            raise too_large(param, "the image", most, "bytes")
        return data


def too_many(param: str, count: int, most: int, what: str = "items") -> ApiError:
    """The error for a request with too many of something."""
    message = f"{param} has {count:,} {what}, more than {most:,}. Send them in several requests."
    return refused(ErrorCode.TOO_MANY_INPUTS, message, param)


def whole(items: list[ParsedItem]) -> list[Item]:
    """The items themselves; raises the first error among them."""
    return [_only((Image, Text), item) for item in items]


def _refuse_tokens(values: list[Any], param: str) -> None:
    """Token ids belong to the vocabulary of another model, so a vector for them would be wrong without a word."""
    first = values[0] if values else None
    if _is_number(first) or (isinstance(first, list) and first and all(map(_is_number, first))):
        raise refused(
            ErrorCode.TOKEN_IDS,
            f"{param} holds token ids, which are another model's. Send strings; in LangChain set "
            "check_embedding_ctx_length=False.",
            param,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _only(kind: type[Any] | tuple[type[Any], ...], item: ParsedItem) -> Any:
    if isinstance(item, HanclipError):
        raise item
    if not isinstance(item, kind):
        wanted, other = ("text", "image") if kind is Text else ("image", "text")
        raise refused(
            ErrorCode.INVALID_REQUEST, f"{item.param} is of kind {other}. Give one of kind {wanted}.", item.param
        )
    return item


def _address(value: Any, param: str) -> str:
    """The address in `"..."` or `{"url": "..."}`; `detail` and the like are ignored."""
    return _string(value.get("url") if isinstance(value, dict) else value, param)


def _string(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise refused(ErrorCode.INVALID_REQUEST, f"{param} is not a string. Correct it.", param)
    return value


def _url(address: str, param: str) -> str:
    """An http(s) URL that may be read. Without `//`, as `http:/etc/passwd`, it would be a path of this machine."""
    if storage.scheme(address) not in _FETCHED:
        raise unusable(Reason.BAD_URI, param)
    if len(address) > _MOST_URL_CHARACTERS:
        raise too_large(param, "the URL", _MOST_URL_CHARACTERS, "characters")
    return address


def _of_data_uri(address: str, param: str) -> str:
    found = _DATA_URI.match(address[:1024])
    if found is None or not found["parameters"].lower().endswith(";base64"):
        cure = "Write data:image/jpeg;base64, and the encoded bytes"
        raise refused(ErrorCode.BAD_BASE64, f"{param} is a data URI without base64. {cure}.", param)
    return address[found.end() :]
