"""A job's folder: what a driver is asked to do, how far it is, and how it ended.

    OUT/_jobs/<job_id>/job.json        runs and steps, written by whoever submits the job, before it starts
    OUT/_jobs/<job_id>/progress.json   written by the driver every few seconds
    OUT/_jobs/<job_id>/summary.json    written last by the driver, also when it fails or is stopped

The folder is all that a submitter and a driver share, so both may be on any machine that reaches OUT, and either may
die and come back. Credentials have no place in it: a `RunConfig` holds none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import AlreadyExistsError, ConfigError, NotFoundError, StorageError
from pipeline.jobs.steps import Step
from pipeline.validation import validated

JOBS = "_jobs"
JOB, PROGRESS, SUMMARY = "job.json", "progress.json", "summary.json"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

JobState = Literal["running", "complete", "failed", "stopped"]
RunState = Literal["complete", "failed", "stopped", "empty", "skipped"]
StepState = Literal["complete", "failed", "stopped", "skipped"]
T = TypeVar("T")


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
    """A job at one moment: run number `run` (from 0) of `runs`, and that run's own progress as plain values.

    `step` is what is being done of `steps`, once the runs are over.
    """

    job_id: str
    state: JobState
    run: int
    runs: int
    progress: dict[str, Any] | None = None
    steps: int = 0
    step: StepProgress | None = None


OnJobProgress = Callable[[JobProgress], None]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How one run of a job ended.

    Attributes:
        state: `empty` when its source holds no records, `failed` when it alone failed, `skipped` when not begun.
        summary: the run's summary as plain values; None when it did not come to one.
    """

    key: str
    state: RunState
    message: str = ""
    summary: dict[str, Any] | None = None


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
    state: JobState
    exit_code: int
    message: str = ""
    runs: tuple[RunOutcome, ...] = ()
    steps: tuple[StepOutcome, ...] = ()


def job_of(runs: tuple[JobRun, ...], steps: tuple[Step, ...] = ()) -> Job:
    """These runs, then these steps."""
    return Job(runs, 2 if steps else 1, steps)


def job_uri(out: str, job_id: str) -> str:
    """Where the job's `job.json` lies, which is the driver's argument.

    Raises:
        ConfigError: the id cannot name a folder.
    """
    if not _ID.fullmatch(job_id):
        raise ConfigError(f"{job_id!r} is no job id: use letters, digits, '.', '_' and '-'.")
    return storage.join(storage.normalise(out), JOBS, job_id, JOB)


def job_id_of(uri: str) -> str:
    """The id of the job whose `job.json` is at `uri`: the name of its folder."""
    return storage.name(storage.parent(storage.normalise(uri)))


def write_job(out: str, job_id: str, job: Job) -> str:
    """Store the job, once; the same job again changes nothing. Returns the address of `job.json`.

    Raises:
        AlreadyExistsError: the id stands for another job.
    """
    uri = job_uri(out, job_id)
    try:
        storage.create(uri, TypeAdapter(Job).dump_json(job, indent=2))
    except AlreadyExistsError:
        if read_job(uri) != job:
            raise AlreadyExistsError(f"{uri} holds another job: submit this one under another id.", uri) from None
    return uri


def is_job(tree: Mapping[str, object]) -> bool:
    """Whether plain values read from a file are a job's, not those of a `RunConfig`."""
    return "runs" in tree


def read_job(uri: str) -> Job:
    """The job at `uri`, the address of its `job.json`.

    Raises:
        StorageError: it cannot be read.
        ConfigError: it is no job.
    """
    return validated(Job, storage.read_bytes(uri), f"{uri} is not a valid job; submit it again")


def write_progress(uri: str, progress: JobProgress, policy: storage.ReadPolicy = storage.DEFAULT_POLICY) -> None:
    """Replace the progress beside the `job.json` at `uri`."""
    _write(uri, PROGRESS, progress, policy)


def write_summary(uri: str, summary: JobSummary, policy: storage.ReadPolicy = storage.DEFAULT_POLICY) -> None:
    """Replace the summary beside the `job.json` at `uri`."""
    _write(uri, SUMMARY, summary, policy)


def read_progress(out: str, job_id: str) -> JobProgress | None:
    """How far the job is; None when its driver has told nothing yet."""
    return _read(JobProgress, storage.join(storage.parent(job_uri(out, job_id)), PROGRESS))


def read_summary(out: str, job_id: str) -> JobSummary | None:
    """How the job ended; None when its driver has not, or died without a word."""
    return _read(JobSummary, storage.join(storage.parent(job_uri(out, job_id)), SUMMARY))


def _write(uri: str, name: str, value: object, policy: storage.ReadPolicy) -> None:
    data = TypeAdapter(type(value)).dump_json(value, indent=2)
    storage.overwrite(storage.join(storage.parent(storage.normalise(uri)), name), data, policy)


def _read(kind: type[T], uri: str) -> T | None:
    try:
        data = storage.read_bytes(uri)
    except NotFoundError:
        return None
    return validated(kind, data, f"{uri} is damaged; delete it", error=lambda message: StorageError(message, uri))
