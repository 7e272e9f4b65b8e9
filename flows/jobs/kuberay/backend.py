"""Backend `kuberay`: one RayJob custom resource per job, which starts its own Ray cluster and removes it.

In: a RayJob template, which describes the cluster. Out: the five calls of `JobBackend` on the Kubernetes API. Resource
name, `spec.jobId` and job id are the same, so creating a job twice is a conflict, which means that it exists.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Self

from flows.jobs.contract import JobSpec, JobState, JobStatus
from flows.jobs.driver import write
from flows.jobs.errors import JobError, TransientJobError
from flows.jobs.http_call import Http
from flows.jobs.kuberay import rayjob
from flows.jobs.kuberay.api import connect
from flows.jobs.ray_api.backend import RayJobs
from flows.jobs.target import TargetConfig

#: The API server's reason for a missing resource; that for a missing resource type differs.
_MISSING = b'"NotFound"'
#: A dashboard that this machine can reach answers at once.
_DASHBOARD_S = 3.0
#: The operator stops the driver and removes the cluster before the resource disappears.
_GONE_S = 120.0

#: jobDeploymentStatus of RayJobs that are over although their jobStatus is not.
_ENDED = {
    "Failed": JobState.FAILED,
    "ValidationFailed": JobState.FAILED,
    "Suspending": JobState.STOPPED,
    "Suspended": JobState.STOPPED,
    "Complete": JobState.SUCCEEDED,
}


class KubeRay:
    """RayJobs of one namespace."""

    def __init__(self, http: Http, target: TargetConfig) -> None:
        self._http, self._target = http, target
        self._path = f"/apis/ray.io/v1/namespaces/{target.namespace}/rayjobs"

    @classmethod
    def of(cls, target: TargetConfig) -> Self:
        """The backend of a target, on the API server of this environment."""
        return cls(connect(), target)

    def submit(self, job_id: str, spec: JobSpec) -> None:
        """Write `job.json` and create the RayJob, unless it exists."""
        if self._get(job_id) is not None:
            return
        template = rayjob.template(self._target.rayjob_template)
        body = rayjob.build(template, job_id, spec, self._target, write(job_id, spec))
        reply = self._http.request("POST", self._path, body)
        if reply.status != 409:
            reply.require(f"create RayJob {job_id} in namespace {self._target.namespace}")

    def status(self, job_id: str) -> JobStatus | None:
        """The operator's view of a job; a RayJob is deleted some minutes after it ended."""
        body = self._get(job_id)
        return _status(body) if body else None

    def logs(self, job_id: str, offset: int) -> tuple[str, int]:
        """The driver's log from the cluster's dashboard; empty if this machine cannot reach the dashboard."""
        ray = self._dashboard(job_id)
        return ray.logs(job_id, offset) if ray else ("", offset)

    def stop(self, job_id: str) -> None:
        """Let the driver finish if its dashboard can be reached, delete the RayJob, and wait until it is gone."""
        try:
            if ray := self._dashboard(job_id):
                ray.stop(job_id)
        except JobError:
            pass  # The operator also stops the driver, but gives it less time.
        reply = self._http.request("DELETE", f"{self._path}/{job_id}", {"propagationPolicy": "Foreground"})
        if reply.missing(_MISSING):
            return
        reply.require(f"delete RayJob {job_id}")
        end_s = time.monotonic() + _GONE_S
        while self._get(job_id) is not None:
            if time.monotonic() > end_s:
                raise TransientJobError(
                    f"RayJob {job_id} is still there after it was deleted. See: kubectl --namespace"
                    f" {self._target.namespace} describe rayjob {job_id}"
                )
            time.sleep(0.5)

    def find(self, **metadata: str) -> list[JobStatus]:
        """RayJobs with this metadata that have not been deleted yet."""
        selector = rayjob.selector(metadata)
        reply = self._http.request("GET", self._path, **({"labelSelector": selector} if selector else {}))
        jobs = [_status(body) for body in reply.require("list the RayJobs").json()["items"]]
        jobs = [job for job in jobs if metadata.items() <= dict(job.metadata).items()]
        return sorted(jobs, key=lambda job: str(job.started_at), reverse=True)

    def _get(self, job_id: str) -> dict[str, Any] | None:
        reply = self._http.request("GET", f"{self._path}/{job_id}")
        return None if reply.missing(_MISSING) else reply.require(f"get RayJob {job_id}").json()

    def _dashboard(self, job_id: str) -> RayJobs | None:
        body = self._get(job_id)
        address = (body or {}).get("status", {}).get("dashboardURL")
        if not address:
            return None
        return RayJobs(_http(address), self._target.python, self._target.stop_wait_s, _DASHBOARD_S)


def _status(body: dict[str, Any]) -> JobStatus:
    status = body.get("status") or {}
    message = ": ".join(filter(None, [status.get("reason"), status.get("message")]))
    url = status.get("dashboardURL")
    return JobStatus(
        job_id=body["metadata"]["name"],
        state=_state(body),
        message=message,
        started_at=_time(status.get("startTime") or body["metadata"].get("creationTimestamp")),
        ended_at=_time(status.get("endTime")),
        metadata=rayjob.metadata_of(body),
        url=f"{_http(url)}/#/jobs/{body['metadata']['name']}" if url else None,
    )


def _state(body: dict[str, Any]) -> JobState:
    status = body.get("status") or {}
    job_status = status.get("jobStatus") or ""
    if job_status in ("SUCCEEDED", "FAILED", "STOPPED"):
        return JobState(job_status)
    if body["metadata"].get("deletionTimestamp"):
        return JobState.STOPPED
    if ended := _ENDED.get(status.get("jobDeploymentStatus") or ""):
        return ended
    return JobState.RUNNING if job_status == "RUNNING" else JobState.PENDING


def _http(address: str) -> str:
    return address.rstrip("/") if "://" in address else f"http://{address}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
