"""The border: whatever obstore, fsspec, aiohttp and the operating system raise becomes one of hanclip's errors.

Foreign messages are not passed on: they hold request URLs and dumps of the client. What is worth knowing (HTTP status,
the store's error code) is picked out of them.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import (
    AlreadyExistsError,
    BadUriError,
    ForbiddenError,
    HanclipError,
    NoBucketError,
    NotFoundError,
    StorageError,
    TimedOutError,
    UnavailableError,
)
from pipeline.storage.uris import printable, scheme, split_bucket

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "file": "the permissions of the file and its folders",
}
_REFUSALS = frozenset({"PermissionDeniedError", "UnauthenticatedError", "ProfileNotFound", "CredentialRetrievalError"})
_TRANSIENT_ERRNO = frozenset({errno.ESTALE, errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN})

#: Already hanclip's, or mistakes in this program: both go on as they are.
_PASSED = (HanclipError, NotImplementedError, TypeError, LookupError, AttributeError, AssertionError)


class HttpStatusError(Exception):
    """An HTTP answer that is not the object."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status code: {status}")


def translate(error: Exception, uri: str) -> StorageError:
    """The hanclip error that `error`, met at `uri`, means. Never carries a foreign message with it."""
    text, kind = str(error), type(error).__name__
    status, code = _STATUS.search(text), _CODE.search(text)
    if code and code.group(1) == "NoSuchBucket":
        return _no_bucket(uri)
    if status:
        return _by_status(int(status.group(1)), code.group(1) if code else "", uri)
    if kind == "AlreadyExistsError" or isinstance(error, FileExistsError):
        return AlreadyExistsError(f"{printable(uri)} exists already: another writer came first. Nothing to do.", uri)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _not_found(uri)
    if kind in _REFUSALS or isinstance(error, PermissionError):
        return _forbidden(uri, kind)
    if isinstance(error, TimeoutError) or "kind: Timeout" in text:
        return TimedOutError(f"{printable(uri)} gave no answer in time. Try again, or raise --read-timeout-s.", uri)
    if isinstance(error, ConnectionError) or kind in {"GenericError", "JoinError"}:
        return _unavailable(uri, _network_cause(text))
    if isinstance(error, ValueError):
        return BadUriError(f"{printable(uri)!r} is not an address that can be read. Correct it in the source.", uri)
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO:
        return _unavailable(uri, errno.errorcode[error.errno or 0])
    cause = error.strerror if isinstance(error, OSError) and error.strerror else kind
    return StorageError(f"{printable(uri)} could not be read or written: {cause}. Check it by hand.", uri)


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Around calls of foreign code: its errors leave as hanclip's, with the foreign one as their cause.

    Arrow's own exceptions pass: they are about what a file holds, not about the store.
    """
    try:
        yield
    except _PASSED:
        raise
    except Exception as error:
        if type(error).__module__.startswith("pyarrow"):
            raise
        raise translate(error, uri) from error


def _by_status(status: int, code: str, uri: str) -> StorageError:
    if status in {404, 410}:
        return _not_found(uri)
    if status in {401, 403}:
        return _forbidden(uri, code or f"HTTP {status}")
    if status == 412 or code == "BlobAlreadyExists":
        return AlreadyExistsError(f"{printable(uri)} exists already: another writer came first. Nothing to do.", uri)
    if status in {408, 409, 425, 429} or status >= 500:
        return _unavailable(uri, f"HTTP {status}")
    hint = "Check AWS_REGION and AWS_ENDPOINT_URL." if scheme(uri).startswith("s3") else "Check the address."
    return StorageError(f"{printable(uri)} was answered with HTTP {status} {code}".rstrip() + f". {hint}", uri)


def _not_found(uri: str) -> NotFoundError:
    return NotFoundError(
        f"{printable(uri)} does not exist. Check the name; if it did when the run began, run the same command again.",
        uri,
    )


def _no_bucket(uri: str) -> NoBucketError:
    bucket = f"{scheme(uri)}://{split_bucket(uri)[0]}"
    return NoBucketError(
        f"The bucket {bucket} does not exist. Check its name, AWS_ENDPOINT_URL and AWS_REGION, or create it.", uri
    )


def _forbidden(uri: str, code: str) -> ForbiddenError:
    family = scheme(uri)[:2] if scheme(uri)[:2] in _CREDENTIALS else scheme(uri)
    cure = f"Check {_CREDENTIALS[family]}." if family in _CREDENTIALS else "The server wants other credentials."
    return ForbiddenError(f"Access to {printable(uri)} was refused ({code}). {cure}", uri)


def _unavailable(uri: str, cause: str) -> UnavailableError:
    store = printable(uri)
    return UnavailableError(f"{store} is not available ({cause}). Try again when the store answers.", uri)


def _network_cause(text: str) -> str:
    for sign, cause in (("ConnectionRefused", "connection refused"), ("dns error", "host name not found")):
        if sign in text:
            return cause
    return "connection broke off"


def too_large(uri: str, size_bytes: int, max_bytes: int) -> str:
    """The sentence for an object above the limit."""
    return f"{uri} has {size_bytes:,} bytes, more than the limit of {max_bytes:,}. Raise --max-image-bytes to read it."
