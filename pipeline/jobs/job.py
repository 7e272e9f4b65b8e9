"""Jobs as values: the request to a driver, its progress and its outcome. `folder` stores them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from pipeline.config import RunConfig
from pipeline.jobs.progress import Progress, Summary
from pipeline.jobs.steps import Step

logger = logging.getLogger(__name__)

DriverState = Literal["running", "complete", "failed", "stopped"]
RunState = Literal["complete", "failed", "stopped", "empty", "skipped"]
StepState = Literal["complete", "failed", "stopped", "skipped"]


def _readable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """None for a value that another version wrote in an unknown form, so that the rest of the file can be used."""
    try:
        return read(value)
    except ValidationError as error:
        logger.debug("Ignored a value written by another version: %s", error)
        return None


_READABLE = WrapValidator(_readable)


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job.

    Attributes:
        key: its partition; empty for a run without one.
        config: what to do.
        template: of a partition: the source addresses with their placeholders.
    """

    key: str
    config: RunConfig
    template: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one driver: runs one after another, then steps over the dataset. Either may be empty.

    A job with steps has format 2, so that an older driver, which would ignore them, refuses it.

    Attributes:
        needs_evidence: whether partitions of which none has files, now or ever before, are a failure of this job. The
            jobs of a backfill are judged together, by the backfill.
        timeout_s: the driver ends the job when it has run for so long; None for no limit.
    """

    runs: tuple[JobRun, ...]
    format: Literal[1, 2] = 1
    steps: tuple[Step, ...] = ()
    needs_evidence: bool = False
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not self.runs and not self.steps:
            raise ValueError("a job needs at least 1 item, a run or a step")


@dataclass(frozen=True, slots=True)
class StepProgress:
    """The progress of step `number` (from 0): `done` of `total` in the phase `doing`; None for an unknown total.

    `seconds` since it began keep growing while a long phase reports nothing, which shows that the driver is alive.
    """

    number: int
    kind: str
    doing: str
    done: int = 0
    total: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobProgress:
    """The progress of a job: of run number `run` (from 0) out of `runs`, then of `step` out of `steps`."""

    job_id: str
    state: DriverState
    run: int
    runs: int
    progress: Annotated[Progress | None, _READABLE] = None
    steps: int = 0
    step: StepProgress | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "progress": self.progress and self.progress.to_json()}


OnJobProgress = Callable[[JobProgress], None]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How one run of a job ended.

    Attributes:
        state: `empty`: its source holds no records; `skipped`: it was not started.
        summary: None when the run ended without one.
    """

    key: str
    state: RunState
    message: str = ""
    summary: Annotated[Summary | None, _READABLE] = None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "summary": self.summary and self.summary.to_json()}


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """How one step of a job ended.

    Attributes:
        state: `skipped`: it was not started; `message` gives the reason.
        found: its result, as the command of the same name prints it with `--json`.
    """

    kind: str
    state: StepState
    message: str = ""
    seconds: float = 0.0
    found: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """The outcome of a job. `runs` and `steps` are in the job's order; `exit_code` is that of the driver process.

    `timed_out`: it failed because it had run for its `timeout_s`.
    """

    job_id: str
    state: DriverState
    exit_code: int
    message: str = ""
    runs: tuple[RunOutcome, ...] = ()
    steps: tuple[StepOutcome, ...] = ()
    timed_out: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "runs": [run.to_json() for run in self.runs]}


def job_of(
    runs: tuple[JobRun, ...],
    steps: tuple[Step, ...] = (),
    needs_evidence: bool = False,
    timeout_s: float | None = None,
) -> Job:
    """A job of these runs, then these steps."""
    return Job(runs, 2 if steps else 1, steps, needs_evidence, timeout_s)


def timeout_message(timeout_s: float | None) -> str:
    """The message of a job that was ended at its time limit."""
    limit = f"Stopped: it had run for its limit of {timeout_s or 0:g} s."
    return f"{limit} What it committed stays. Raise timeout_s and run it again."
