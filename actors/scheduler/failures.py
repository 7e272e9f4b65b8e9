"""What a failed call means for the scheduler, and how many of them a run bears.

The one border between Ray's exceptions and our own words.

Not caught here: anything that is no `RayError`, which is a bug of the scheduler and must surface.
"""

from __future__ import annotations

from enum import Enum

from ray.exceptions import (
    ObjectLostError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from pipeline.errors import HanclipError, RunError, UnavailableError

#: Failures in a row, without one chunk embedded between them, after which the fault is not in the records: more than
#: it takes to find one poison record in a chunk.
_MAX_FAILURES_IN_A_ROW = 40
#: Actors in a row that did not live to the end of their set-up.
_MAX_FAILED_SETUPS = 6
#: Chunks in a row that found the store down after all their retries.
_MAX_OUTAGES = 6


class Cause(Enum):
    """Why a call failed."""

    DEATH = "the worker died"
    RAISED = "the worker raised"
    LOST = "an input was lost with its node"
    OUTAGE = "the object store is down"
    FATAL = "the run cannot go on"


def cause_of(error: RayError) -> Cause:
    """Sort an error that `ray.get` raised."""
    if isinstance(error, RayTaskError):
        return _raised(error.cause if error.cause is not None else error)
    if isinstance(error, (ObjectLostError, OwnerDiedError)):
        return Cause.LOST
    if isinstance(error, (RayActorError, OutOfMemoryError, WorkerCrashedError)):
        return Cause.DEATH
    return Cause.FATAL


def _raised(error: BaseException) -> Cause:
    if isinstance(error, (ObjectLostError, OwnerDiedError)):
        return Cause.LOST
    if isinstance(error, UnavailableError):
        return Cause.OUTAGE
    if isinstance(error, HanclipError):
        return Cause.FATAL
    return Cause.RAISED


def describe(error: RayError) -> str:
    """The error in one line for a person: our own message where there is one, else what Ray saw."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        cause = error.cause
        return str(cause) if isinstance(cause, HanclipError) else f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # Ray puts the traceback of a constructor into the message; its last line is the error itself.
    return f"{type(error).__name__}: {lines[-1] if 'creation task' in lines[0] else lines[0]}"


class Patience:
    """Counts failures in a row, and ends a run that only fails."""

    def __init__(self) -> None:
        self._in_a_row = self._setups = self._outages = 0

    def setup_done(self) -> None:
        """An actor is ready."""
        self._setups = 0

    def chunk_done(self) -> None:
        """A chunk was embedded: the whole way works."""
        self._in_a_row = self._setups = self._outages = 0

    def failed(self, role: str, kind: str, cause: Cause, seen: str) -> None:
        """Count a failed call of a `role`.

        Raises:
            RunError: there is no hope in going on.
        """
        self._in_a_row += 1
        self._setups += kind == "setup"
        self._outages += cause is Cause.OUTAGE
        if self._outages >= _MAX_OUTAGES:
            raise RunError(f"The object store is down: {seen} Run the same command again when it is back.")
        if cause is Cause.FATAL or (kind == "setup" and cause is Cause.RAISED):
            raise RunError(f"The {role}s cannot go on: {seen}")
        if self._in_a_row > _MAX_FAILURES_IN_A_ROW or self._setups > _MAX_FAILED_SETUPS:
            raise RunError(f"The {role}s keep failing, last with: {seen}")
