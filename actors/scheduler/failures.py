"""Classifies failed calls, and ends a run that keeps failing.

The only place that translates Ray's exceptions. Anything that is not a `RayError` is a bug in the scheduler and is not
caught.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from ray.exceptions import (
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from pipeline.errors import HanclipError, RunError, UnavailableError

#: More failures in a row, with no chunk embedded in between, than it takes to isolate one poison record in a chunk:
#: beyond this and the actors that one event may end, the fault is not in the records.
_MAX_FAILURES_IN_A_ROW = 40
#: Inputs that may be lost in a row: a large node takes many with it, and none of them is a fault of the work.
_MAX_LOSSES = 1000
#: Set-ups that may fail in a row.
_MAX_FAILED_SETUPS = 6
#: Chunks in a row that may find the store down after all their retries.
_MAX_OUTAGES = 6
_MEMORY_CURE = "Lower --embedders or --decoders, use a smaller --batch-size, or give the run more memory."
_MAYBE_MEMORY = (
    "Workers that die without an error are often killed for lack of memory: see the kernel's log (`dmesg`) or the pod's"
    f" status on their node. {_MEMORY_CURE}"
)
_FREE_SPACE = "Free space where Ray spills objects on its nodes (by default in /tmp), or lower --inflight-bytes."


class FailureCause(Enum):
    """Why a call failed."""

    DEATH = "the worker died"
    RAISED = "the worker raised"
    LOST = "an input was lost with its node"
    LEFT = "the worker left with its node, which was announced"
    OUTAGE = "the object store is down"
    FULL = "the store of a node is full, and so is the disk behind it"
    FATAL = "retrying cannot help"


def cause_of(error: RayError) -> FailureCause:
    """The cause of an error that `ray.get` raised."""
    inner = error.cause if isinstance(error, RayTaskError) and error.cause is not None else error
    if isinstance(inner, ObjectLostError):
        return FailureCause.LOST
    if isinstance(inner, (ObjectStoreFullError, OutOfDiskError)):
        return FailureCause.FULL
    if isinstance(error, RayTaskError):
        return _raised(inner)
    if isinstance(error, RayActorError) and error.preempted:
        return FailureCause.LEFT
    if isinstance(error, (RayActorError, OutOfMemoryError, WorkerCrashedError)):
        return FailureCause.DEATH
    return FailureCause.FATAL


def _raised(error: BaseException) -> FailureCause:
    if isinstance(error, UnavailableError):
        return FailureCause.OUTAGE
    if isinstance(error, HanclipError):
        return FailureCause.FATAL
    return FailureCause.RAISED


def describe(error: RayError) -> str:
    """The error in one line: our own message if the actor raised one, else Ray's."""
    if isinstance(error, RayTaskError) and error.cause is not None:
        cause = error.cause
        if isinstance(cause, HanclipError):
            return str(cause)
        return f"{type(cause).__name__}: {' '.join(str(cause).split())}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    # Ray puts the traceback of a constructor into the message; its last line is the error itself.
    return f"{type(error).__name__}: {lines[-1] if 'creation task' in lines[0] else lines[0]}"


@contextmanager
def ray_errors_translated() -> Iterator[None]:
    """Raise our own error where a call or Ray itself failed inside the block.

    Raises:
        HanclipError: that of the call if it raised one, else a RunError.
    """
    try:
        yield
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else None
        if isinstance(cause, HanclipError):
            raise cause from error
        raise RunError(
            f"Ray failed: {describe(error)} Look at the Ray cluster, then run the same command again."
        ) from error


#: Causes that cost a chunk no attempt.
BLAMELESS = frozenset({FailureCause.LOST, FailureCause.LEFT, FailureCause.OUTAGE, FailureCause.FULL})
_CURES = {FailureCause.DEATH: _MAYBE_MEMORY, FailureCause.FULL: _FREE_SPACE}


def with_cure(cause: FailureCause, message: str) -> str:
    """The message of a failure that ends a run, with what to do about its cause if that is known."""
    return f"{message} {_CURES.get(cause, '')}".rstrip()


class FailureBudget:
    """Counts failures in a row, and ends a run in which every call fails.

    Args:
        oom_kills: number of processes here that the kernel has killed for lack of memory.
        actors: number of actors that there may be: a node that is gone ends all of its own at once.
    """

    def __init__(self, oom_kills: Callable[[], int] = lambda: 0, actors: Callable[[], int] = lambda: 0) -> None:
        self._actors = actors
        self._in_a_row = self._losses = self._setups = self._outages = self._killed_by_ray = 0
        self._oom_kills, self._kills_before = oom_kills, oom_kills()

    def setup_done(self) -> None:
        """An actor is ready."""
        self._setups = 0

    def chunk_done(self) -> None:
        """A chunk was embedded, so all stages work."""
        self._in_a_row = self._losses = self._setups = self._outages = 0

    def memory_note(self) -> str:
        """How many processes were killed for lack of memory since the beginning, with the cure; empty if none."""
        kills = max(self._killed_by_ray, self._oom_kills() - self._kills_before)
        if kills <= 0:
            return ""
        many = "process was" if kills == 1 else "processes were"
        return f"{kills} {many} killed because memory ran out. {_MEMORY_CURE}"

    def failed(self, role: str, kind: str, cause: FailureCause, message: str, out_of_memory: bool = False) -> None:
        """Count a failed call on an actor of `role`; `out_of_memory`: Ray killed it because its node ran out of memory.

        A call that ended because its node left costs nothing.

        Raises:
            RunError: the budget is used up, or retrying cannot help.
        """
        if cause is FailureCause.LEFT:
            return
        self._losses += cause is FailureCause.LOST
        self._in_a_row += cause is not FailureCause.LOST
        self._killed_by_ray += out_of_memory
        self._setups += kind == "setup"
        self._outages += cause is FailureCause.OUTAGE
        if self._outages >= _MAX_OUTAGES:
            raise RunError(f"The object store is down: {message} Run the same command again when it is back.")
        if cause is FailureCause.FATAL or (kind == "setup" and cause is FailureCause.RAISED):
            raise RunError(f"The {role}s cannot continue: {message}")
        too_many = self._in_a_row > _MAX_FAILURES_IN_A_ROW + self._actors() or self._losses > _MAX_LOSSES
        if too_many or self._setups > _MAX_FAILED_SETUPS:
            note = self.memory_note()
            why = f"{message} {note}" if note else with_cure(cause, message)
            raise RunError(f"The {role}s keep failing, last with: {why}")
