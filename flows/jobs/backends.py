"""Makes the backend that a `TargetConfig` names."""

from __future__ import annotations

from flows.jobs.contract import JobBackend
from flows.jobs.target import TargetConfig


def make_backend(target: TargetConfig) -> JobBackend:
    """The backend that `target` names; makes no request yet."""
    # Each backend is imported only when it is used.
    if target.backend == "ray":
        from flows.jobs.ray_api.backend import RayJobs

        return RayJobs.of(target)
    if target.backend == "kuberay":
        from flows.jobs.kuberay.backend import KubeRay

        return KubeRay.of(target)
    from flows.jobs.local import LocalJobs

    return LocalJobs(target.stop_wait_s)
