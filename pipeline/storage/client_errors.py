"""Translates the errors of obstore, fsspec, aiohttp and the operating system into hanclip's.

Foreign messages never get through, since they contain request URLs and dumps of the client. What happened is decided by
the type of an error and by the status that it carries. obstore's `GenericError` carries none: its message is searched
for one, which decides only whether the operation is worth repeating. What was written is never decided by a message.
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
from pipeline.extras import install_command
from pipeline.faults import explained
from pipeline.storage.uris import HTTP_SCHEMES, is_bucket, printable, scheme, split_bucket

_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_BUCKET = "NoSuchBucket"
_INVALID_PATH = re.compile(r'Path "(.+?)"(?: contained|:)')
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) and AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    "file": "the permissions of the file and its folders",
}
_WEB_CURES = {"HTTP 401": "It wants a login: give one with --http-header 'Authorization: env:VARIABLE'."}
_WEB_CURE = (
    "It may want to see the page of its images, --http-header 'Referer: https://...', or who is asking, --http-header "
    "'User-Agent: ...'. If the URL is signed, its signature may have expired: renew the table."
)
_REFUSALS = frozenset({"PermissionDeniedError", "UnauthenticatedError", "ProfileNotFound", "CredentialRetrievalError"})
#: obstore's, for HTTP 409, 412 and 304: another operation on the same object was in the way.
_CONFLICTS = frozenset({"AlreadyExistsError", "PreconditionError", "NotModifiedError"})
_TRANSIENT_ERRNO = frozenset({errno.ESTALE, errno.EAGAIN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENOTCONN})

#: Already hanclip's, or bugs in this program: both pass unchanged.
_PASSED = (HanclipError, NotImplementedError, TypeError, LookupError, AttributeError, AssertionError)


class HttpStatusError(Exception):
    """An HTTP response that is not what was asked for.

    Attributes:
        status: the HTTP status.
        code: the store's error code; empty if it gave none.
        retry_after_s: how long the server asks to wait, in seconds.
    """

    def __init__(self, status: int, code: str = "", retry_after_s: float = 0.0) -> None:
        super().__init__(f"HTTP {status} {code}".rstrip())
        self.status, self.code, self.retry_after_s = status, code, retry_after_s


def translate(error: Exception, uri: str) -> StorageError:
    """The hanclip error for `error`, raised by an operation on `uri`. Contains no foreign message."""
    text, kind = str(error), type(error).__name__
    if isinstance(error, HttpStatusError):
        return _by_status(error.status, error.code, uri, error.retry_after_s)
    if kind == "GenericError" and (status := status_in(error)):
        return _by_status(status, _code_in(text, uri), uri)
    if isinstance(error, FileExistsError):
        return already_exists(uri)
    if kind in _CONFLICTS:
        return _unavailable(uri, "another operation on the same object was in the way")
    if isinstance(error, FileNotFoundError) and is_bucket(uri) and _code_in(text, uri) == _NO_BUCKET:
        return _no_bucket(uri)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return _not_found(uri)
    if kind in _REFUSALS or isinstance(error, PermissionError):
        return _forbidden(uri, _code_in(text, uri) or kind)
    if isinstance(error, TimeoutError) or "kind: Timeout" in text:
        return TimedOutError(f"{printable(uri)} timed out. Try again, or raise --read-timeout-s.", uri)
    if isinstance(error, ConnectionError) or kind in {"GenericError", "JoinError"}:
        return _unavailable(uri, _network_cause(text))
    if kind == "InvalidPathError":
        named = _INVALID_PATH.search(text)
        key = repr(named[1]) if named else "One of the keys"
        on_s3 = f", or install what lists such keys: {install_command('s3')}" if scheme(uri).startswith("s3") else ""
        return BadUriError(
            f"{printable(uri)} cannot be listed: {key} has an empty, `.` or `..` segment or a control character. "
            f"Rename the object, or name another folder{on_s3}.",
            uri,
        )
    if isinstance(error, ValueError):
        return BadUriError(f"{printable(uri)!r} is not a readable address. Correct it in the source.", uri)
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO:
        return _unavailable(uri, errno.errorcode[error.errno or 0])
    if known := explained(error, printable(uri)):
        return StorageError(str(known), uri)
    cause = error.strerror if isinstance(error, OSError) and error.strerror else kind
    return StorageError(f"{printable(uri)} could not be read or written: {cause}. Check it with another tool.", uri)


def status_in(error: Exception) -> int:
    """The HTTP status that the message of obstore's `GenericError` contains; 0 if there is none.

    Only for the choice whether to repeat an operation: a message may change with any release.
    """
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _code_in(text: str, uri: str) -> str:
    """The store's error code in obstore's message, outside the key, which the message repeats; else empty."""
    found = _CODE.search(text.replace(split_bucket(uri)[1] or "\0", ""))
    return found[1] if found else ""


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Wrap calls of foreign code: its errors become hanclip's, chained to the original.

    Arrow's own exceptions pass, since they concern the content of a file, not the store.
    """
    try:
        yield
    except _PASSED:
        raise
    except Exception as error:
        if type(error).__module__.startswith("pyarrow"):
            raise
        raise translate(error, uri) from error


def _by_status(status: int, code: str, uri: str, retry_after_s: float = 0.0) -> StorageError:
    if code == _NO_BUCKET:
        return _no_bucket(uri)
    if status in {404, 410}:
        return _not_found(uri)
    if status in {401, 403}:
        return _forbidden(uri, code or f"HTTP {status}")
    if status in {408, 409, 425, 429} or status >= 500:
        later = f", asks to wait {retry_after_s:,.0f} s" if retry_after_s else ""
        busy = _unavailable(uri, f"HTTP {status}{later}")
        busy.retry_after_s, busy.status = retry_after_s, status
        return busy
    hint = "Check AWS_REGION and AWS_ENDPOINT_URL." if scheme(uri).startswith("s3") else "Check the address."
    answer = f"HTTP {status} {code}".rstrip()
    return StorageError(f"The store answered {answer} for {printable(uri)}. {hint}", uri)


def already_exists(uri: str) -> AlreadyExistsError:
    """The error for a name that another writer took first."""
    return AlreadyExistsError(f"{printable(uri)} already exists: another writer was first. Nothing to do.", uri)


def _not_found(uri: str) -> NotFoundError:
    return NotFoundError(
        f"{printable(uri)} does not exist. Check the name; if it existed when the run began, run the same command "
        "again.",
        uri,
    )


def _no_bucket(uri: str) -> NoBucketError:
    bucket = f"{scheme(uri)}://{split_bucket(uri)[0]}"
    return NoBucketError(
        f"The bucket {bucket} does not exist. Check its name, AWS_ENDPOINT_URL and AWS_REGION, or create it.", uri
    )


def _forbidden(uri: str, code: str) -> ForbiddenError:
    if scheme(uri) in HTTP_SCHEMES:
        return ForbiddenError(f"The server refuses {printable(uri)} ({code}). {_WEB_CURES.get(code, _WEB_CURE)}", uri)
    family = scheme(uri)[:2] if scheme(uri)[:2] in _CREDENTIALS else scheme(uri)
    cure = f"Check {_CREDENTIALS[family]}." if family in _CREDENTIALS else "Give credentials that the server accepts."
    return ForbiddenError(f"Access to {printable(uri)} was refused ({code}). {cure}", uri)


def _unavailable(uri: str, cause: str) -> UnavailableError:
    store = printable(uri)
    return UnavailableError(f"{store} is not available ({cause}). Try again when the store is up.", uri)


def _network_cause(text: str) -> str:
    for sign, cause in _CAUSES:
        if sign in text:
            return cause
    return "connection lost"


#: What obstore and botocore say, and what that means.
_CAUSES = (
    ("ConnectionRefused", "connection refused"),
    ("Connection refused", "connection refused"),
    ("dns error", "host name not found"),
    ("NameResolutionError", "host name not found"),
)


def too_large(uri: str, size_bytes: int, max_bytes: int) -> str:
    """The message for an object above the limit."""
    limit = f"more than the limit of {max_bytes:,}. Raise --max-image-bytes to read it."
    return f"{printable(uri)} has {size_bytes:,} bytes, {limit}"
