"""Failures of single records, which go to quarantine, and of whole stores, which are the shard's."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import (
    AddressRefusedError,
    BadUriError,
    DisallowedError,
    ForbiddenError,
    HostDownError,
    NotFoundError,
    StorageError,
    TimedOutError,
    TooLargeError,
    UnavailableError,
)
from pipeline.records import Failure, RawRecord, Record
from pipeline.vocabulary import Reason, Stage

#: Reasons of a record whose store gave no answer about it.
NO_ANSWER = frozenset({Reason.TIMEOUT, Reason.UNAVAILABLE, Reason.HOST_DOWN})

#: Subclasses come before their base classes.
_REASONS: tuple[tuple[type[StorageError], Reason], ...] = (
    (BadUriError, Reason.BAD_URI),
    (NotFoundError, Reason.NOT_FOUND),
    (AddressRefusedError, Reason.ADDRESS_REFUSED),
    (ForbiddenError, Reason.FORBIDDEN),
    (TimedOutError, Reason.TIMEOUT),
    (HostDownError, Reason.HOST_DOWN),
    (UnavailableError, Reason.UNAVAILABLE),
    (DisallowedError, Reason.DISALLOWED),
    (TooLargeError, Reason.TOO_LARGE),
)


def read_failure(error: StorageError) -> Failure:
    """The failure of a record whose object could not be read."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.UNREADABLE)
    return Failure(Stage.READ, reason, str(error))


def unexpected(error: Exception, stage: Stage) -> Failure:
    """The failure of a record that made a reader or decoder raise an error that nothing foresaw."""
    detail = (
        f"{type(error).__name__}: {error}. Correct the record; if nothing is wrong with it, report this to hanclip."
    )
    return Failure(stage, Reason.UNREADABLE, detail)


def failed(record: Record, reason: Reason, detail: str, stage: Stage = Stage.READ) -> RawRecord:
    """A record that goes to quarantine."""
    return RawRecord(record, failure=Failure(stage, reason, detail))


def raise_if_all_unavailable(results: Sequence[bytes | StorageError]) -> None:
    """Raise the first error if the store answered nothing: then the shard fails, not each record."""
    errors = [result for result in results if isinstance(result, UnavailableError)]
    if errors and len(errors) == len(results):
        raise errors[0]
