"""Backend `ray`: the Jobs REST API of a running Ray cluster, over HTTP without the `ray` package.

In: the dashboard's address. Out: the five calls of `JobBackend`. The submission id is the job id, so Ray refuses a
second submission, which means that the job exists. The driver outlives the submitter.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any, Self

from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.driver import entrypoint, runtime_env, write
from flows.jobs.errors import TransientJobError
from flows.jobs.http_call import ATTEMPT_S, Http, Reply
from flows.jobs.ray_api.token import CURE, TokenAccess
from flows.jobs.target import TargetConfig

UNREACHABLE = "Check the address of the dashboard, that the cluster runs, and that this machine may reach it."
#: Ray's answer about an unknown job contains this.
_MISSING = b"does not exist"
#: Ray's message contains the end of the log; only this much is kept.
_MESSAGE_CHARS = 2000
#: On top of `stop_wait_s`: Ray polls once a second, and kills what is left.
_STOP_MARGIN_S = 15.0


class RayJobs:
    """Jobs on the Ray cluster with its dashboard at `address`; links to jobs start with `page`."""

    def __init__(
        self, address: str, python: str, stop_wait_s: float, attempt_s: float = ATTEMPT_S, page: str | None = None
    ) -> None:
        self._page = page or address
        self._python = python
        self._stop_wait_s = stop_wait_s
        self._http = Http(address, TokenAccess(), UNREACHABLE, CURE, attempt_s)

    @classmethod
    def of(cls, target: TargetConfig) -> Self:
        """The backend of a target."""
        return cls(target.address or "", target.python, target.stop_wait_s, page=target.page)

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write `job.json` and submit the driver, unless Ray knows the job."""
        if self.status(job_id) is not None:
            return
        request = {
            "submission_id": job_id,
            "entrypoint": entrypoint(self._python, write(job_id, spec)),
            "metadata": dict(spec.metadata),
            "runtime_env": runtime_env(self._stop_wait_s),
        }
        reply = self._http.request("POST", "/api/jobs/", request)
        if reply.status >= 400 and b"already exists" in reply.body:
            return
        reply.require(f"submit job {job_id}")

    def status(self, job_id: str) -> JobStatus | None:
        """Ray's view of a job."""
        reply = self._http.request("GET", f"/api/jobs/{job_id}")
        if reply.missing(_MISSING):
            return None
        return self._status(reply.require(f"get the status of job {job_id}").json())

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """The driver's log from character `offset` on. Ray sends all of it; very long logs are cut off."""
        reply = self._http.request("GET", f"/api/jobs/{job_id}/logs")
        if reply.missing(_MISSING):
            return "", offset
        text = _log(reply.require(f"read the log of job {job_id}"))
        return text[offset:], max(offset, len(text))

    def stop(self, job_id: str) -> None:
        """Send SIGTERM, and SIGKILL after `stop_wait_s`; wait until the job is over."""
        status = self.status(job_id)
        if status is None or status.state.over:
            return
        self._http.request("POST", f"/api/jobs/{job_id}/stop").require(f"stop job {job_id}")
        end_s = time.monotonic() + self._stop_wait_s + _STOP_MARGIN_S
        while (status := self.status(job_id)) is not None and not status.state.over:
            if time.monotonic() > end_s:
                raise TransientJobError(f"Job {job_id} did not stop in time. See {status.url} and stop it again.")
            time.sleep(0.5)

    def find(self, **metadata: str) -> list[JobStatus]:
        """Jobs that were submitted through the Jobs API with this metadata."""
        found = self._http.request("GET", "/api/jobs/").require("list the jobs").json()
        jobs = [self._status(job) for job in found if job.get("submission_id")]
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
            url=f"{self._page}/#/jobs/{job['submission_id']}",
        )


def _time(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _log(reply: Reply) -> str:
    if not reply.cut:
        return str(reply.json().get("logs") or "")
    # `{"logs": "...`, cut off. ASCII, since Ray escapes; up to 12 bytes of an escaped pair may be incomplete.
    for incomplete in range(13):
        try:
            return str(json.loads(reply.body[: len(reply.body) - incomplete] + b'"}')["logs"])
        except ValueError:
            continue
    return ""
