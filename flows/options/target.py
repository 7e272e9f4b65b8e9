"""The options of where jobs run, made from `TargetConfig`.

An address alone means the backend `ray`, a template alone `kuberay`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from flows.options.field import METAVARS
from flows.options.model import ModelOptions
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from flows.jobs.target import TargetConfig

TARGET: ModelOptions[TargetConfig] = ModelOptions(
    "flows.jobs.target:TargetConfig",
    names={"address": "jobs_address", "page": "jobs_page", "timeout_s": "job_timeout_s"},
    panels={"backend": "Jobs"},
    metavars=METAVARS,
)
#: What it takes to reach a backend, without what only a submission needs.
REACH = ("backend", "address", "namespace")


def build_target(typed: Mapping[str, object]) -> TargetConfig:
    """The target that the options make, this process if none is given; raises ConfigError."""
    tree = TARGET.given(typed)
    if "backend" not in tree and "address" in tree:
        tree["backend"] = "ray"
    elif "backend" not in tree and "rayjob_template" in tree:
        tree["backend"] = "kuberay"
    return TARGET.validated(tree)


def build_cluster(typed: Mapping[str, object]) -> TargetConfig:
    """The same for commands about a cluster, which mean this process only on request."""
    target = build_target(typed)
    if target.backend == "local" and typed.get("backend") is None:
        raise ConfigError("Where is the cluster? Give --jobs-address http://head:8265, or --backend kuberay.")
    return target
