"""Backend `ray`: the Jobs REST API of a live Ray cluster, spoken over HTTP without the `ray` package.

In: the dashboard's address. Out: the five calls of `JobBackend`. The submission id is ours, so a second submission of
one job is refused by Ray and means "already there". Ray keeps the driver alive whatever becomes of the submitter.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Self

from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.driver import entrypoint, runtime_env, write
from flows.jobs.errors import TransientJobError
from flows.jobs.http_call import ATTEMPT_S, Access, Http, Reply
from flows.jobs.ray_api.token import CURE, auth_headers
from flows.jobs.target import TargetConfig

UNREACHABLE = "Check the address of the dashboard, that the cluster runs, and that this machine may reach it."
#: What Ray says of a job that it does not know.
_MISSING = b"does not exist"
#: Ray's message holds the end of the log; so much of it is kept.
_MESSAGE_CHARS = 2000
#: Beyond the driver's own time to finish: Ray looks once a second, and kills what is left.
_STOP_MARGIN_S = 15.0


class RayJobs:
    """Jobs on the Ray cluster whose dashboard answers at `address`."""

    def __init__(self, address: str, python: str, stop_wait_s: float, attempt_s: float = ATTEMPT_S) -> None:
        self.address = address
        self._python = python
        self._stop_wait_s = stop_wait_s
        self._http = Http(address, lambda _: Access(auth_headers()), UNREACHABLE, CURE, attempt_s)

    @classmethod
    def of(cls, target: TargetConfig) -> Self:
        """The backend of a target."""
        return cls(target.address or "", target.python, target.stop_wait_s)

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write `job.json` and hand the driver to Ray, unless Ray knows the job."""
        if self.status(job_id) is not None:
            return
        request = {
            "submission_id": job_id,
            "entrypoint": entrypoint(self._python, write(job_id, spec)),
            "metadata": dict(spec.metadata),
            "runtime_env": runtime_env(self._stop_wait_s),
        }
        answer = self._http.request("POST", "/api/jobs/", request)
        if answer.status >= 400 and b"already exists" in answer.body:
            return
        answer.require(f"submit job {job_id}")

    def status(self, job_id: str) -> JobStatus | None:
        """Ray's view of a job."""
        answer = self._http.request("GET", f"/api/jobs/{job_id}")
        return None if answer.missing(_MISSING) else self._status(answer.require(f"look at job {job_id}").json())

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """The driver's log from character `offset` on. Ray sends it whole; very long logs are cut at their end."""
        answer = self._http.request("GET", f"/api/jobs/{job_id}/logs")
        if answer.missing(_MISSING):
            return "", offset
        text = _log(answer.require(f"read the log of job {job_id}"))
        return text[offset:], max(offset, len(text))

    def stop(self, job_id: str) -> None:
        """SIGTERM, and SIGKILL after `stop_wait_s`; waits for the end of the job."""
        status = self.status(job_id)
        if status is None or status.state.over:
            return
        self._http.request("POST", f"/api/jobs/{job_id}/stop").require(f"stop job {job_id}")
        end_s = time.monotonic() + self._stop_wait_s + _STOP_MARGIN_S
        while (status := self.status(job_id)) is not None and not status.state.over:
            if time.monotonic() > end_s:
                raise TransientJobError(
                    f"Job {job_id} was told to stop and has not. Look at {status.url}, stop it again."
                )
            time.sleep(0.5)

    def find(self, **metadata: str) -> list[JobStatus]:
        """Jobs of the Jobs API with this metadata."""
        answer = self._http.request("GET", "/api/jobs/").require("list the jobs").json()
        jobs = [self._status(job) for job in answer if job.get("submission_id")]
        jobs = [job for job in jobs if metadata.items() <= dict(job.metadata).items()]
        return sorted(jobs, key=lambda job: job.started_at or datetime.max.replace(tzinfo=UTC), reverse=True)

    def _status(self, job: dict[str, Any]) -> JobStatus:
        message = job.get("message") or ""
        if job.get("error_type"):
            message = f"{job['error_type']}: {message}"
        return JobStatus(
            job_id=job["submission_id"],
            state=JobState(job["status"]),
            message=message if len(message) <= _MESSAGE_CHARS else f"... {message[-_MESSAGE_CHARS:]}",
            exit_code=job.get("driver_exit_code"),
            started_at=_time(job.get("start_time")),
            ended_at=_time(job.get("end_time")),
            metadata=job.get("metadata") or {},
            url=f"{self.address}/#/jobs/{job['submission_id']}",
        )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _log(reply: Reply) -> str:
    if not reply.cut:
        return str(reply.json().get("logs") or "")
    # `{"logs": "...` without its end. ASCII, since Ray escapes; the last escape may be torn: up to 12 bytes of a pair.
    for torn in range(13):
        try:
            return str(json.loads(reply.body[: len(reply.body) - torn] + b'"}')["logs"])
        except ValueError:
            continue
    return ""
