"""The name and the logical date of the current flow run.

Both derive from its parameters and its scheduled start, so they stay the same through retries and restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from prefect.runtime import flow_run
from pydantic import ValidationError

from flows.options.timezones import zone
from pipeline import storage
from pipeline.config import RunConfig
from pipeline.errors import ConfigError

DEFAULT_TIMEZONE = "UTC"


def logical_date(timezone: str) -> date:
    """The day that the flow run was scheduled for, in `timezone`, however late it starts."""
    scheduled = flow_run.scheduled_start_time
    day: date = scheduled.astimezone(zone(timezone)).date()
    return day


def run_name() -> str:
    """`embed photos -> embeddings`, `nightly 2026-11-21 -> embeddings`, `dedup shop/embeddings`.

    Invalid parameters also give a name: Prefect calls this before the run starts, and a run whose name raised an error
    would stay pending. The flow itself reports what is wrong.
    """
    name, parameters = str(flow_run.flow_name), flow_run.parameters
    if isinstance(parameters.get("out"), str):
        return f"{name} {place(parameters['out'])}"
    try:
        config = RunConfig.model_validate(parameters["config"])
        about = _day(parameters) if name == "nightly" else place(*config.source.uris)
    except (KeyError, ValidationError, ConfigError):
        return f"{name} {flow_run.scheduled_start_time:%Y-%m-%d %H:%M}"
    return f"{name} {about} -> {place(config.output.uri)}"


def place(*uris: str) -> str:
    """URIs in short: the last two segments of the first, without wildcards."""
    if not uris or not uris[0]:
        return "?"
    path = storage.printable(uris[0]).rpartition("://")[2]
    plain = [part for part in path.split("/") if part and not set(part) & set("*?[]")]
    more = f" and {len(uris) - 1} more" if len(uris) > 1 else ""
    return "/".join(plain[-2:]) + more


def _day(parameters: Mapping[str, object]) -> str:
    return logical_date(str(parameters.get("timezone") or DEFAULT_TIMEZONE)).isoformat()
