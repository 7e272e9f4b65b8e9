"""The command line's options of where jobs run, made from the fields of `TargetConfig` as those of a run are.

In: the pydantic model. Out: one Typer option per field, and the target that the given ones make. An address alone
means the backend `ray`, a template alone `kuberay`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from flows.options.run import ConfigOption, with_options
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from flows.jobs.target import TargetConfig

#: What reaching a backend takes, without what only a submission needs.
REACH = ("backend", "address", "namespace")


def all_target_options() -> Iterator[ConfigOption]:
    """Every field of `TargetConfig`, in its order."""
    from flows.jobs.target import TargetConfig

    return (ConfigOption("jobs", name, info) for name, info in TargetConfig.model_fields.items())


def target_options(*fields: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a keyword per field of `TargetConfig`, or for these alone, in place of `**options`."""
    return with_options(lambda: (o for o in all_target_options() if not fields or o.field in fields))


def build_target(given: Mapping[str, object]) -> TargetConfig:
    """The target that the command line's options make, this process if none is given; raises ConfigError."""
    from flows.jobs.target import parse_target

    tree = {option.field: option.value(given) for option in all_target_options()}
    tree = {name: value for name, value in tree.items() if value is not None}
    if "backend" not in tree and "address" in tree:
        tree["backend"] = "ray"
    elif "backend" not in tree and "rayjob_template" in tree:
        tree["backend"] = "kuberay"
    return parse_target(tree)


def build_cluster(given: Mapping[str, object]) -> TargetConfig:
    """The same for commands that are about a cluster, and mean this process only when told so."""
    target = build_target(given)
    if target.backend == "local" and given.get("backend") is None:
        raise ConfigError("Where is the cluster? Give --jobs-address http://head:8265, or --backend kuberay.")
    return target
