"""Fills a job into a RayJob template, which describes the cluster.

In: a YAML file and a `JobSpec`. Out: the body of the custom resource. All metadata is in an annotation, and what
Kubernetes allows as labels is in labels as well, for selectors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flows.jobs.contract import JobSpec
from flows.jobs.driver import entrypoint, runtime_env
from flows.jobs.ids import is_job_id
from flows.jobs.target import TargetConfig
from pipeline.errors import ConfigError
from pipeline.yaml_text import load_documents

PREFIX = "hanclip/"
ANNOTATION = f"{PREFIX}metadata"
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def template(path: str | None) -> dict[str, Any]:
    """The RayJob in a YAML file.

    Raises:
        ConfigError: the file does not contain exactly one RayJob with a cluster.
    """
    if not path:
        raise ConfigError("The backend kuberay needs a rayjob_template: the YAML file of a RayJob.")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read the RayJob template {path}: {error}. Give a YAML file.") from error
    documents = load_documents(f"The RayJob template {path}", text)
    jobs = [d for d in documents if isinstance(d, dict) and d.get("kind") == "RayJob"]
    if len(jobs) != 1 or not (jobs[0].get("spec") or {}).get("rayClusterSpec"):
        raise ConfigError(f"{path} must contain exactly one RayJob with a spec.rayClusterSpec. See infra/kuberay.")
    return jobs[0]


def build(body: dict[str, Any], job_id: str, spec: JobSpec, target: TargetConfig, job_json: str) -> dict[str, Any]:
    """The RayJob that runs the driver once on the cluster of the template `body`.

    Raises:
        ConfigError: the id is not a valid name, or the template's `runtimeEnvYAML` is no mapping.
    """
    if not is_job_id(job_id):
        raise ConfigError(f"{job_id!r} is not a valid name: use at most 47 lower-case letters, digits and '-'.")
    metadata = body["metadata"] = body.get("metadata") or {}
    metadata.pop("generateName", None)
    metadata |= {"name": job_id, "namespace": target.namespace}
    metadata["labels"] = {**(metadata.get("labels") or {}), **_labels(spec.metadata)}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: json.dumps(dict(spec.metadata))}
    body["spec"] |= {
        "jobId": job_id,
        "entrypoint": entrypoint(target.python, job_json),
        # The operator submits the job; if a pod did, its death would fail a healthy job.
        "submissionMode": "HTTPMode",
        # The submitter counts attempts, and each has its own id.
        "backoffLimit": 0,
        "shutdownAfterJobFinishes": True,
        "runtimeEnvYAML": _runtime_env(body["spec"].get("runtimeEnvYAML"), target.stop_wait_s),
    }
    body["spec"].setdefault("ttlSecondsAfterFinished", 300)
    if spec.timeout_s:
        # Counted from creation, so it includes the wait for the cluster.
        body["spec"]["activeDeadlineSeconds"] = round(spec.timeout_s + target.pending_timeout_s)
    return body


def selector(metadata: Mapping[str, str]) -> str:
    """The label selector for the part of `metadata` that is in labels."""
    return ",".join(f"{key}={value}" for key, value in _labels(metadata).items())


def metadata_of(body: Mapping[str, Any]) -> dict[str, str]:
    """The metadata that `build` wrote; empty for RayJobs of other origin."""
    try:
        return dict(json.loads(body["metadata"]["annotations"][ANNOTATION]))
    except (KeyError, TypeError, ValueError):
        return {}


def _labels(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"{PREFIX}{key}": value for key, value in metadata.items() if _LABEL.fullmatch(value)}


def _runtime_env(template: str | None, stop_wait_s: float) -> str:
    own = runtime_env(stop_wait_s)
    tree = next(iter(load_documents("runtimeEnvYAML of the RayJob template", template or "")), None) or {}
    if not isinstance(tree, dict) or not isinstance(tree.get("env_vars") or {}, dict):
        raise ConfigError("runtimeEnvYAML of the RayJob template is no mapping: write it as `env_vars: {NAME: value}`.")
    return yaml.safe_dump({**tree, "env_vars": {**(tree.get("env_vars") or {}), **own["env_vars"]}})
