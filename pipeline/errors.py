"""Defines every error that hanclip raises on purpose.

    HanclipError                     a message for the user: what is wrong, and the cure
    ├── UsageError                   the request is wrong; nothing was started                 exit code 2
    │   ├── ConfigError              an option or a YAML key
    │   ├── SourceError              duplicate ids, missing or colliding columns, nothing found
    │   │   ├── EmptySourceError     the addresses are readable but hold no records
    │   │   └── ContainerError       one tar or table is damaged; the others can be read
    │   ├── ModelError               model files missing, damaged, or of another kind
    │   └── IdentityError            OUT belongs to another model, format or set of columns
    ├── StorageError                 an operation on the object or folder `uri` failed         exit code 1
    │   ├── BadUriError              not a readable address
    │   ├── NotFoundError            the object or folder does not exist
    │   │   └── NoBucketError        nor does the bucket
    │   ├── ForbiddenError           credentials were refused
    │   │   └── AddressRefusedError  policy refuses the network address
    │   ├── UnavailableError         refused, throttled or cut off until retries ran out
    │   │   ├── TimedOutError        no answer before the deadline until retries ran out
    │   │   └── HostDownError        an http(s) host does not answer at all
    │   │       └── UnusableHostError  and minutes of retries cannot help
    │   ├── UnsortedError            a bucket lists in no order, which its reader relies on
    │   ├── DisallowedError          the server does not allow this use of the object
    │   ├── TooLargeError            above a limit of bytes
    │   └── AlreadyExistsError       the name is taken: another writer was first
    │       └── CommittedError       of a shard, by the run `run_id`
    ├── ImageError                   one image; `reason` is its quarantine reason
    ├── RunError                     the run cannot continue; committed shards stay            exit code 1
    └── InternalError                a bug, in hanclip or in a library                         exit code 1

A *record* that fails becomes a quarantine row (`records.Failure`), never an exception that leaves its stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from pipeline.vocabulary import Reason


class HanclipError(Exception):
    """Base of all errors for the user. The message names the object and ends with the cure."""

    exit_code = 1


class UsageError(HanclipError):
    """The request is wrong; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """An option or YAML key is wrong, or a combination of them."""


class SourceError(UsageError):
    """The source as a whole cannot be planned."""


class EmptySourceError(SourceError):
    """The source holds no records, which is legitimate for one of many daily folders."""


class ContainerError(SourceError):
    """One container of the source (a tar, a table) is damaged or of another kind than its name says."""


class ModelError(UsageError):
    """The model's files are missing, damaged or of an unsupported kind."""


class IdentityError(UsageError):
    """The output dataset belongs to another model, preprocessing, format or set of columns."""


class StorageError(HanclipError):
    """Reading, listing or writing `uri` failed."""

    def __init__(self, message: str, uri: str = "") -> None:
        super().__init__(message)
        self.uri = uri

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str]]:
        return type(self), (str(self), self.uri)


class BadUriError(StorageError):
    """The address is not one that hanclip can read."""


class NotFoundError(StorageError):
    """The object or folder does not exist."""


class NoBucketError(NotFoundError):
    """The bucket does not exist."""


class ForbiddenError(StorageError):
    """Credentials were refused, or policy refuses the address."""


class AddressRefusedError(ForbiddenError):
    """Policy refuses the network address of a URL or of its redirect."""


class DisallowedError(StorageError):
    """The server serves the object, but asks not to use it like this."""


class UnavailableError(StorageError):
    """The store refused connections, throttled or disconnected until the retries ran out.

    Attributes:
        retry_after_s: how long the server asks to wait before the next attempt, in seconds.
        status: the HTTP status; 0 if it is unknown.
    """

    retry_after_s: float = 0.0
    status: int = 0


class TimedOutError(UnavailableError):
    """The store did not answer before the deadline until the retries ran out."""


class HostDownError(UnavailableError):
    """An http(s) host refuses connections or closes them without an answer."""


class UnusableHostError(HostDownError):
    """The host has no address or no valid certificate, or is not asked any more: minutes of retries cannot help."""


class UnsortedError(StorageError):
    """A bucket lists its keys in no order."""


class TooLargeError(StorageError):
    """The object exceeds the limit of bytes."""


class AlreadyExistsError(StorageError):
    """The name of a create-only write is taken."""


class CommittedError(AlreadyExistsError):
    """Another writer committed the shard first; its file was read.

    Attributes:
        run_id: the run of that writer.
    """

    def __init__(self, message: str, uri: str, run_id: str) -> None:
        super().__init__(message, uri)
        self.run_id = run_id

    def __reduce__(self) -> tuple[type[CommittedError], tuple[str, str, str]]:  # type: ignore[override]
        return type(self), (str(self), self.uri, self.run_id)


class ImageError(HanclipError):
    """One image cannot be decoded."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


class RunError(HanclipError):
    """The run cannot continue. Committed shards stay, and the same command resumes from there."""


class InternalError(HanclipError):
    """A bug in hanclip or in a library that it calls."""


class DeviceLostError(Exception):
    """The device computes nothing any more until its process ends, as after an asynchronous CUDA error."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question for a message about a name that does not exist, if one that does is near; ends with a space."""
    by_plain = {one.strip().lower(): one for one in known}
    # Words in Chinese have few characters: with one of two in common they are near.
    near = get_close_matches(name.strip().lower(), by_plain, n=1, cutoff=0.6 if name.isascii() else 0.5)
    return f"Did you mean {by_plain[near[0]]}? " if near else ""
