"""Everything hanclip raises on purpose, drawn once.

    HanclipError                     a sentence for a person: what is wrong with what, and what to do
    ├── UsageError                   wrong use; nothing was started                            exit code 2
    │   ├── ConfigError              an option or a YAML key
    │   ├── SourceError              duplicate ids, missing or colliding columns, nothing found
    │   │   └── EmptySourceError     the addresses are right and hold no records
    │   ├── ModelError               model files missing, damaged, or of another kind
    │   └── IdentityError            the dataset at OUT was made by something else
    ├── StorageError                 one object or listing; `uri` says which                   exit code 1
    │   ├── BadUriError              not an address that can be read
    │   ├── NotFoundError            no such object or folder
    │   │   └── NoBucketError        no such bucket
    │   ├── ForbiddenError           credentials refused
    │   │   └── AddressRefusedError  an address that policy refuses
    │   ├── UnavailableError         refused, throttled or broken off until the retries were used up
    │   │   └── TimedOutError        no answer within the deadline, until the retries were used up
    │   ├── TooLargeError            above a stated limit of bytes
    │   └── AlreadyExistsError       lost a race for a name: somebody else committed it
    ├── ImageError                   one image; `reason` is its quarantine reason
    └── RunError                     a run that cannot go on; what is committed stays          exit code 1

A *record* that fails becomes a quarantine row (`batch.Failure`), never an exception that leaves its stage.
"""

from __future__ import annotations

from pipeline.vocabulary import Reason


class HanclipError(Exception):
    """Base of all errors meant for a person. The message names the thing and ends with the cure."""

    exit_code = 1


class UsageError(HanclipError):
    """The request cannot be carried out as given; nothing was started."""

    exit_code = 2


class ConfigError(UsageError):
    """An option, a YAML key, or their combination."""


class SourceError(UsageError):
    """The source as a whole cannot be planned."""


class EmptySourceError(SourceError):
    """The source holds no records. For one of many daily folders that is no fault."""


class ModelError(UsageError):
    """The model's files are missing, damaged or of a kind that hanclip does not load."""


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
    """Not an address that hanclip can read."""


class NotFoundError(StorageError):
    """No such object or folder."""


class NoBucketError(NotFoundError):
    """No such bucket."""


class ForbiddenError(StorageError):
    """Credentials were refused, or policy refuses the address."""


class AddressRefusedError(ForbiddenError):
    """The URL leads to an address that policy refuses, at once or after a redirect."""


class UnavailableError(StorageError):
    """The store refused connections, throttled or broke off until the retries were used up."""


class TimedOutError(UnavailableError):
    """The store did not answer within the deadline, until the retries were used up."""


class TooLargeError(StorageError):
    """The object is above the stated limit of bytes."""


class AlreadyExistsError(StorageError):
    """A create-only write found the name taken."""


class ImageError(HanclipError):
    """One image cannot become pixels."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[ImageError], tuple[Reason, str]]:
        return type(self), (self.reason, self.detail)


class RunError(HanclipError):
    """The run stops here; everything committed stays and the same command goes on from there."""
