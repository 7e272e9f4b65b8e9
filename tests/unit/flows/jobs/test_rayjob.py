"""A RayJob template that people wrote by hand, filled in for a job."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from flows.jobs.contract import JobSpec
from flows.jobs.kuberay.rayjob import build
from flows.jobs.target import TargetConfig
from pipeline.errors import ConfigError

TARGET = TargetConfig(backend="kuberay", namespace="shop", stop_wait_s=7)
SPEC = JobSpec("embed-1", "s3://bucket/out", (), {"app": "hanclip"})


def built(**template: Any) -> dict[str, Any]:
    """The body for a template with these parts, whose other parts are as short as they may be."""
    spec = {"rayClusterSpec": {"rayVersion": "2.60.0"}, **template.pop("spec", {})}
    body = {"kind": "RayJob", "spec": spec, **template}
    return build(body, "embed-1-a1", SPEC, TARGET, "s3://bucket/out/_jobs/embed-1-a1/job.json")


@pytest.mark.parametrize("template", [{}, {"metadata": None}, {"metadata": {"name": "x", "labels": None}}])
def test_the_name_and_the_labels_of_a_template_may_be_left_out(template: dict[str, Any]) -> None:
    metadata = built(**template)["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("embed-1-a1", "shop")
    assert metadata["labels"] == {"hanclip/app": "hanclip"}


@pytest.mark.parametrize(("own", "expected"), [("", {}), ("env_vars:", {}), ("env_vars: {A: b}", {"A": "b"})])
def test_a_runtime_environment_keeps_what_it_has(own: str, expected: dict[str, str]) -> None:
    made = yaml.safe_load(built(spec={"runtimeEnvYAML": own})["spec"]["runtimeEnvYAML"])
    assert made["env_vars"] == {**expected, "RAY_JOB_STOP_WAIT_TIME_S": "7"}


@pytest.mark.parametrize("own", ["- A", "env_vars: [A]", "A=b", "env_vars: {A"])
def test_a_runtime_environment_that_is_none_is_refused(own: str) -> None:
    with pytest.raises(ConfigError, match=r"runtimeEnvYAML of the RayJob template is (no mapping|not YAML): "):
        built(spec={"runtimeEnvYAML": own})
