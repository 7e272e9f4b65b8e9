"""Reads and writes a job's folder: the request, its progress and its outcome.

    OUT/_jobs/<job_id>/job.json        runs and steps, written by the submitter before the job starts
    OUT/_jobs/<job_id>/progress.json   written by the driver every few seconds
    OUT/_jobs/<job_id>/summary.json    written last by the driver, also after a failure or a stop

Submitter and driver share nothing else, so they may run on any machines that reach OUT, and either may be restarted.
The files hold no credentials, because a `RunConfig` holds none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

from pipeline import storage
from pipeline.errors import AlreadyExistsError, ConfigError, NotFoundError, StorageError
from pipeline.jobs.job import Job, JobProgress, JobSummary
from pipeline.validation import validated

JOBS = "_jobs"
JOB, PROGRESS, SUMMARY = "job.json", "progress.json", "summary.json"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

T = TypeVar("T")


def job_uri(out: str, job_id: str) -> str:
    """The URI of the job's `job.json`, which is the driver's argument.

    Raises:
        ConfigError: the id is not a valid folder name.
    """
    if not _ID.fullmatch(job_id):
        raise ConfigError(f"{job_id!r} is not a valid job id: use letters, digits, '.', '_' and '-'.")
    return storage.join(storage.normalise(out), JOBS, job_id, JOB)


def job_id_of(uri: str) -> str:
    """The id of the job whose `job.json` is at `uri`: the name of its folder."""
    return storage.name(storage.parent(storage.normalise(uri)))


def write_job(out: str, job_id: str, job: Job) -> str:
    """Store the job; storing the same job again has no effect. Returns the URI of `job.json`.

    Raises:
        AlreadyExistsError: the id already belongs to a different job.
    """
    uri = job_uri(out, job_id)
    try:
        storage.create(uri, TypeAdapter(Job).dump_json(job, indent=2))
    except AlreadyExistsError:
        if read_job(uri) != job:
            raise AlreadyExistsError(f"{uri} holds a different job: submit this one under another id.", uri) from None
    return uri


def is_job(tree: Mapping[str, object]) -> bool:
    """Whether the contents of a file are a job, not a `RunConfig`."""
    return "runs" in tree


def read_job(uri: str) -> Job:
    """The job whose `job.json` is at `uri`.

    Raises:
        StorageError: it cannot be read.
        ConfigError: it is not a valid job.
    """
    return validated(Job, storage.read_bytes(uri), f"{uri} is not a valid job; submit it again")


def write_progress(uri: str, progress: JobProgress, policy: storage.ReadPolicy = storage.DEFAULT_POLICY) -> None:
    """Replace the progress of the job whose `job.json` is at `uri`."""
    _write(uri, PROGRESS, progress.to_json(), policy)


def write_summary(uri: str, summary: JobSummary, policy: storage.ReadPolicy = storage.DEFAULT_POLICY) -> None:
    """Replace the summary of the job whose `job.json` is at `uri`."""
    _write(uri, SUMMARY, summary.to_json(), policy)


def read_progress(out: str, job_id: str) -> JobProgress | None:
    """The latest progress of the job; None before its driver has reported any."""
    return _read(JobProgress, storage.join(storage.parent(job_uri(out, job_id)), PROGRESS))


def read_summary(out: str, job_id: str) -> JobSummary | None:
    """How the job ended; None while it runs, or when its driver died without a summary."""
    return _read(JobSummary, storage.join(storage.parent(job_uri(out, job_id)), SUMMARY))


def _write(uri: str, name: str, plain: dict[str, Any], policy: storage.ReadPolicy) -> None:
    data = json.dumps(plain, indent=2, ensure_ascii=False).encode()
    storage.overwrite(storage.join(storage.parent(storage.normalise(uri)), name), data, policy)


def _read(kind: type[T], uri: str) -> T | None:
    try:
        data = storage.read_bytes(uri)
    except NotFoundError:
        return None
    return validated(kind, data, f"{uri} is damaged; delete it", error=lambda message: StorageError(message, uri))
