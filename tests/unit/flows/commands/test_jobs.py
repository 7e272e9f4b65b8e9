"""What `hanclip submit` and `hanclip jobs` name as the next command: it reaches the cluster of the job."""

from __future__ import annotations

import pytest

from flows.commands import jobs
from flows.jobs.target import TargetConfig
from pipeline.errors import ConfigError
from tests.fixtures.toy_jobs import ToyJobs

JOB = "submit-1f2e3d4c5b6a-november-a1"
TARGETS = {
    "--backend ray --jobs-address http://head:8265": TargetConfig(backend="ray", address="http://head:8265"),
    "--backend kuberay --namespace hanclip": TargetConfig(backend="kuberay", namespace="hanclip"),
}


@pytest.mark.parametrize("where", TARGETS)
def test_the_next_command_reaches_the_cluster(where: str) -> None:
    left = jobs._leave(ToyJobs(), TARGETS[where], JOB)
    assert left == f"The job keeps running. Stop it with: hanclip jobs stop {JOB} {where}"
    with pytest.raises(ConfigError) as unknown:
        jobs._known(ToyJobs(), TARGETS[where], JOB)
    assert str(unknown.value) == f"There is no job {JOB}. List the jobs with: hanclip jobs list {where}"
