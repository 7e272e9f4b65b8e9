"""TargetConfig: which backend runs the jobs, and its timeouts.

Parsed once from the command line, YAML or Prefect parameters. Tokens and credentials have no field on purpose: they
come from the environment of the caller and of the cluster.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from pipeline.credentials import refuse_credentials
from pipeline.validation import Options


class TargetConfig(Options):
    """Where jobs run."""

    model_config = ConfigDict(hide_input_in_errors=True)

    backend: Literal["local", "ray", "kuberay"] = Field(
        default="local",
        description="local: in this process; ray: a live cluster's Jobs API; kuberay: a cluster per job on Kubernetes.",
    )
    address: str | None = Field(default=None, description="Dashboard of the Ray cluster, such as http://head:8265.")
    page: str | None = Field(default=None, description="Address of the dashboard for browsers, if it has another.")
    namespace: str = Field(default="default", description="Kubernetes namespace of the RayJobs.")
    rayjob_template: str | None = Field(default=None, description="YAML file of a RayJob: its cluster runs each job.")
    python: str = Field(default="python", description="Interpreter on the cluster that has hanclip installed.")
    max_attempts: int = Field(default=3, ge=1, le=99, description="Most jobs to start for one piece of work.")
    lost_after_s: float = Field(
        default=900.0, ge=0, description="Tolerate a cluster that does not answer for this long."
    )
    pending_timeout_s: float = Field(
        default=900.0, gt=0, description="Replace a job that has not started by then with the next attempt."
    )
    stop_wait_s: float = Field(default=28.0, ge=0, description="Time a driver has to finish between stop and kill.")
    poll_s: float = Field(default=15.0, gt=0, description="Longest pause between two polls of a job.")
    timeout_s: float | None = Field(default=None, gt=0, description="Stop a job that runs for longer.")

    @field_validator("address", "page")
    @classmethod
    def _no_credentials(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("http://", "https://")):
            raise ValueError("write the dashboard's address with http:// or https://, such as http://head:8265")
        return address and refuse_credentials(address.rstrip("/"))

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.backend == "ray" and not self.address:
            raise ValueError("backend ray needs an address, such as http://head:8265")
        return self
