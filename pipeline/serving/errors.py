"""Errors of the API: one shape for all of them, OpenAI's, so that its clients show the message.

    {"error": {"message": ..., "type": ..., "param": "input[3]", "code": "not_an_image"}}

Codes are the words for quarantine reasons where one fits. A message names the item and ends with the cure. It never
repeats bytes of an image, a path of this machine or an error of a library.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from pipeline.errors import HanclipError, ImageError, StorageError, UnavailableError
from pipeline.sources.failures import read_failure
from pipeline.vocabulary import Reason


class ErrorCode(StrEnum):
    """What is wrong, where no quarantine reason has a word for it. A closed set, as clients may switch on it."""

    INVALID_REQUEST = "invalid_request"
    NOT_JSON = "not_json"
    BAD_BASE64 = "bad_base64"
    SCHEME_NOT_ALLOWED = "scheme_not_allowed"
    URLS_NOT_ALLOWED = "image_urls_not_allowed"
    FETCH_FAILED = "fetch_failed"
    IMAGE_AS_TEXT = "image_given_as_text"
    TOKEN_IDS = "token_ids_not_supported"
    TOO_MANY_INPUTS = "too_many_inputs"
    TOO_MANY_ROWS = "too_many_rows"
    DIMENSIONS = "dimensions_not_supported"
    INVALID_API_KEY = "invalid_api_key"
    HOST_NOT_ALLOWED = "host_not_allowed"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    ID_NOT_FOUND = "id_not_found"
    UNKNOWN_COLUMN = "unknown_column"
    WRONG_CONDITION = "wrong_condition"
    NO_GROUPS = "no_duplicate_groups"
    NOT_INDEXED = "not_indexed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    ENCODING = "encoding_not_supported"
    BODY_TOO_LARGE = "body_too_large"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    TIMED_OUT = "timed_out"
    DEVICE_LOST = "device_lost"
    NO_REPLICA = "no_replica"
    CLIENT_GONE = "client_closed_request"
    INTERNAL = "internal"


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
#: A name that a client made up may be as long as its request.
_MOST_CHARACTERS = 1000
#: When a client should try again if nothing better is known.
RETRY_AFTER_S = 1.0
_MOST_RETRY_AFTER_S = 3
#: A store that gave no answer, retries included, is seldom back sooner.
_STORE_RETRY_AFTER_S = 5.0

#: What is said of an image or text that cannot be used, and the cure.
_REASONS: Mapping[Reason, str] = {
    Reason.NOT_FOUND: "its server has no such object. Check the URL",
    Reason.FORBIDDEN: "its server refuses to send it. Send the image itself, as a data URI",
    Reason.TIMEOUT: "its server did not send it in time. Try again, or send the image itself, as a data URI",
    Reason.UNAVAILABLE: "its server is not available. Try again, or send the image itself, as a data URI",
    Reason.HOST_DOWN: "its server does not answer. Check the URL, or send the image itself, as a data URI",
    Reason.BAD_URI: "this is not a URL that can be read. Correct it",
    Reason.ADDRESS_REFUSED: "its address is not allowed here. Send the image itself, as a data URI",
    Reason.DISALLOWED: "its server does not allow this use. Send the image itself, as a data URI",
    Reason.NOT_AN_IMAGE: "this is no image of a format that is read. Send JPEG, PNG, WebP, GIF, BMP or TIFF",
    Reason.UNSUPPORTED_FORMAT: "its format is not read here. Convert the image to JPEG or PNG",
    Reason.TRUNCATED: "the image ends too early. Send the whole file",
    Reason.UNSUPPORTED_MODE: "its pixels have no agreed range. Convert the image to 8 bits a channel",
    Reason.UNREADABLE: "the image is damaged. Save it again as JPEG or PNG",
    Reason.EMPTY_TEXT: "the text is empty, or no character of it can be seen. Leave it out",
    Reason.BAD_TEXT: "the text holds half of a surrogate pair, as of an emoji that was cut in two. Correct it",
    Reason.TEXT_TOO_LONG: "the text has more tokens than the model takes. Shorten it",
    Reason.NOT_FINITE: "the model gives no finite vector for it. Leave it out, and report it to who runs this server",
}


class ApiError(HanclipError):
    """What a request gets in place of an answer.

    Args:
        status: of HTTP.
        code: what is wrong.
        message: what is wrong, and what to do, in whole sentences.
        param: the field or item, such as `input[3]`; None: the request as a whole.
        retry_after_s: when to try again, in seconds; None: never unchanged.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, str(code), param
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after_s)))

    def body(self) -> dict[str, Any]:
        """The error as OpenAI's object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        param = self.param and _shortened(self.param)
        return {"error": {"message": _shortened(str(self)), "type": kind, "param": param, "code": self.code}}


def _shortened(text: str) -> str:
    """The text without its middle if it is very long: the cure at its end stays."""
    half = _MOST_CHARACTERS // 2
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:half]}...{text[-half:]}"


def refused(code: str, message: str, param: str | None = None) -> ApiError:
    """The error for a request that is wrong."""
    return ApiError(400, code, message, param)


def overloaded(message: str) -> ApiError:
    """The error for a request that finds no room; the same one may succeed in a moment.

    Clients that are refused together are sent away for different times, as they would come back together.
    """
    return ApiError(503, ErrorCode.OVERLOADED, message, retry_after_s=random.randint(1, _MOST_RETRY_AFTER_S))


def store_is_away(reason: Reason, what: str, param: str | None = None, retry_after_s: float = 0.0) -> ApiError:
    """The error for a store of `what` that gave no answer, for one of `NO_ANSWER`; the same request may succeed later.

    `retry_after_s` is what the store asks for, in seconds.
    """
    message = f"The store of {what} gives no answer now ({reason.replace('_', ' ')}). Try again in a moment."
    return ApiError(503, reason, message, param, max(retry_after_s, _STORE_RETRY_AFTER_S))


@contextmanager
def outages_answered(what: str, param: str | None = None) -> Iterator[None]:
    """Raise that error in place of UnavailableError."""
    try:
        yield
    except UnavailableError as error:
        raise store_is_away(read_failure(error).reason, what, param, error.retry_after_s) from error


def unusable(reason: Reason, param: str, detail: str = "") -> ApiError:
    """The error for an item that cannot be used; `detail` in place of the usual words for this reason."""
    return refused(reason, f"{param}: {detail or _REASONS[reason]}.", param)


def too_large(param: str, what: str, limit: int, unit: str) -> ApiError:
    """The error for an item above a limit."""
    return unusable(Reason.TOO_LARGE, param, f"{what} has more than {limit:,} {unit}. Send a smaller one")


def of_image(error: ImageError, param: str, max_pixels: int) -> ApiError:
    """The error for an image that cannot be decoded. The decoder's own words may quote the file."""
    if error.reason == Reason.TOO_MANY_PIXELS:
        return unusable(error.reason, param, f"the image has more than {max_pixels:,} pixels. Send a smaller one")
    return unusable(error.reason, param)


def of_fetch(error: StorageError, param: str, max_bytes: int) -> ApiError:
    """The error for an image that cannot be fetched."""
    reason = read_failure(error).reason
    if reason == Reason.TOO_LARGE:
        return too_large(param, "the image", max_bytes, "bytes")
    if reason == Reason.UNREADABLE:
        return refused(
            ErrorCode.FETCH_FAILED, f"{param}: its server gave no image. Check the URL, or send a data URI.", param
        )
    return unusable(reason, param)
