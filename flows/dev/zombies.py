"""The Prefect automation that restarts flow runs whose process is gone.

Out: the automation on the server of a stack. It is a copy of infra/prefect/automations/zombies.yaml, which is not in
the wheel; a test compares the two.
"""

from __future__ import annotations

from typing import Any

HEARTBEAT_S = 60
#: At least three heartbeats, otherwise healthy runs are started a second time.
_WITHIN_S = 200
_OVER = ("Completed", "Failed", "TimedOut", "Cancelling", "Cancelled", "Paused", "Suspended", "AwaitingRetry")


def zombies() -> dict[str, Any]:
    """The automation, in the form of Prefect's models."""
    return {
        "name": "hanclip-zombies",
        "description": "Starts a flow run of hanclip again when its process is gone;"
        " the new process goes on with the same Ray job.",
        "enabled": True,
        "trigger": {
            "type": "event",
            "posture": "Proactive",
            "match": {"prefect.resource.id": "prefect.flow-run.*"},
            "match_related": {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.hanclip"},
            "for_each": ["prefect.resource.id"],
            "after": ["prefect.flow-run.heartbeat"],
            "expect": ["prefect.flow-run.heartbeat", *(f"prefect.flow-run.{state}" for state in _OVER)],
            "threshold": 1,
            "within": _WITHIN_S,
        },
        "actions": [
            {
                "type": "change-flow-run-state",
                "state": "SCHEDULED",
                "name": "AwaitingRetry",
                "message": "Its process is gone; a new one goes on with the same job.",
                "force": True,
            }
        ],
    }


def watch_for_zombies() -> None:
    """Create the automation on the server of this environment; an existing one is left unchanged."""
    # Keeps Prefect, which takes seconds to import, out of `hanclip dev status`.
    from prefect.client.orchestration import get_client
    from prefect.events.schemas.automations import AutomationCore

    wanted = AutomationCore.model_validate(zombies())
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(wanted.name):
            client.create_automation(wanted)
