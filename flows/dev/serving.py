"""`python -m flows.dev.serving`: registers the flows with the Prefect server of a stack, and runs them.

In: the environment that `hanclip dev up` gives its services. Runs until SIGTERM. Only `reap` has a schedule; flows that
take long are started by hand.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from prefect import serve
from prefect.types.entrypoint import EntrypointType

from flows.dev.health import DEPLOYMENT, FLOWS
from flows.dev.zombies import watch_for_zombies

_REAP_EVERY_S = 600
_RUNS_AT_ONCE = 8
#: Short, because a developer watches.
_POLL_S = 3.0


def main() -> None:
    """Serve until a signal arrives."""
    watch_for_zombies()
    serve(*(_deployment(name) for name in FLOWS), pause_on_shutdown=False, limit=_RUNS_AT_ONCE)


def _deployment(name: str) -> Any:
    """The deployment of `flows.scheduled.NAME.NAME`, with the stack's Ray as its default target."""
    flow = getattr(import_module(f"flows.scheduled.{name}"), name)
    return flow.to_deployment(
        name=DEPLOYMENT,
        parameters={"target": {"backend": "ray", "address": os.environ["HANCLIP_RAY_ADDRESS"], "poll_s": _POLL_S}},
        interval=_REAP_EVERY_S if name == "reap" else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
        tags=["hanclip"],
    )


if __name__ == "__main__":
    main()
