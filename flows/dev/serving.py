"""`python -m flows.dev.serving`: registers the flows with the Prefect server of a stack, and runs them.

In: the environment that `hanclip dev up` gives its services. Runs until SIGTERM. Only `reap` has a schedule; flows that
take long are started by hand. Schedules and parameters that were changed on the server survive a restart.
"""

from __future__ import annotations

import os
from datetime import timedelta
from importlib import import_module

from prefect import serve
from prefect.schedules import Schedule

from flows.deployments.deployment import KeepingDeployment
from flows.deployments.retired import delete_retired_automations
from flows.dev.health import DEPLOYMENT, FLOWS

_REAP = Schedule(interval=timedelta(seconds=300), slug="reap")
_RUNS_AT_ONCE = 8
#: Short, because a developer watches.
_POLL_S = 3.0


def main() -> None:
    """Serve until a signal arrives."""
    delete_retired_automations()
    serve(*(_deployment(name) for name in FLOWS), pause_on_shutdown=False, limit=_RUNS_AT_ONCE)


def _deployment(name: str) -> KeepingDeployment:
    """The deployment of `flows.scheduled.NAME.NAME`, with the stack's Ray as its default target."""
    return KeepingDeployment.of(
        getattr(import_module(f"flows.scheduled.{name}"), name),
        DEPLOYMENT,
        parameters={"target": {"backend": "ray", "address": os.environ["HANCLIP_RAY_ADDRESS"], "poll_s": _POLL_S}},
        schedules=[_REAP] if name == "reap" else [],
        tags=["hanclip"],
    )


if __name__ == "__main__":
    main()
