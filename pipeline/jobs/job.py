"""A job: what a driver is asked to do, how far it is, and how it ended. Plain values, which `folder` stores."""

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
    """None for what a driver of another version wrote in another form: the rest of the file is readable without it."""
    try:
        return read(value)
    except ValidationError as error:
        logger.debug("Left out, since another version wrote it: %s", error)
        return None


_READABLE = WrapValidator(_readable)


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job. `key` names its partition; empty for a run that belongs to none."""

    key: str
    config: RunConfig


@dataclass(frozen=True, slots=True)
class Job:
    """What one driver carries out: runs one after another, then steps over what they made, or over a finished dataset.

    A job with steps says that its format is 2, so that a driver which knows of none refuses it.
    """

    runs: tuple[JobRun, ...]
    format: Literal[1, 2] = 1
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        if not self.runs and not self.steps:
            raise ValueError("a job needs at least 1 item, a run or a step")


@dataclass(frozen=True, slots=True)
class StepProgress:
    """Step number `number` (from 0) at one moment: `done` of `total` of what it is doing, where that is known.

    `seconds` since it began: a step that says nothing for minutes can be told from one that is dead.
    """

    number: int
    kind: str
    doing: str
    done: int = 0
    total: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobProgress:
    """A job at one moment: run number `run` (from 0) of `runs`, and that run's own progress.

    `step` is what is being done of `steps`, once the runs are over.
    """

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
        state: `empty` when its source holds no records, `failed` when it alone failed, `skipped` when not begun.
        summary: the run's summary; None when it did not come to one.
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
        state: `skipped` when not begun; `message` says why.
        found: what came of it as plain values, as the command of the same name tells with `--json`.
    """

    kind: str
    state: StepState
    message: str = ""
    seconds: float = 0.0
    found: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job that ended. `runs` and `steps` are in the job's order; `exit_code` is that of the driver's process."""

    job_id: str
    state: DriverState
    exit_code: int
    message: str = ""
    runs: tuple[RunOutcome, ...] = ()
    steps: tuple[StepOutcome, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "runs": [run.to_json() for run in self.runs]}


def job_of(runs: tuple[JobRun, ...], steps: tuple[Step, ...] = ()) -> Job:
    """These runs, then these steps."""
    return Job(runs, 2 if steps else 1, steps)
