"""The flow runs of `benchmarks.nights`: short scheduled flows, and `reap`, which watches them.

`serve_nights` runs in the runner's process; each flow run is a process of its own that imports this module only.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from prefect import flow, serve
from prefect.types.entrypoint import EntrypointType

from benchmarks.night_policy import LENGTHS_S, NIGHT_EVERY_S, POLICY, REAP_EVERY_S, RUNS_AT_ONCE, TAGS


@flow
def night(seconds: float) -> None:
    """Take `seconds`, as a job would that is watched."""
    time.sleep(seconds)


def serve_nights() -> None:
    """Register and serve the flows until a signal arrives."""
    # Keeps the pipeline out of the processes of short flows.
    from flows.scheduled.reap import reap

    # Outside of an event loop these are deployments, although the annotation allows coroutines.
    nights: list[Any] = [
        night.to_deployment(
            f"night-{length_s}",
            interval=timedelta(seconds=NIGHT_EVERY_S),
            parameters={"seconds": length_s},
            tags=TAGS,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        for length_s in LENGTHS_S
    ]
    watching: Any = reap.to_deployment(
        "reap",
        interval=timedelta(seconds=REAP_EVERY_S),
        parameters={"revival": POLICY},
        tags=TAGS,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    serve(*nights, watching, limit=RUNS_AT_ONCE, pause_on_shutdown=False)
