"""Moves a flow run to another state only if it is still in the state that was judged.

The server compares and writes under its orchestration rules, never by force. A run that ended before the request is
not matched. The states are read back afterwards: where another state slipped in between, it is restored, before a
worker can start the run, since a revived run is scheduled some seconds ahead.
"""

from __future__ import annotations

import logging
from typing import Any, cast
from uuid import UUID, uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import State
from prefect.states import to_state_create

logger = logging.getLogger(__name__)


def move(client: SyncPrefectClient, flow_run_id: UUID, judged: State, proposed: State) -> bool:
    """Propose a state in place of `judged`. Returns whether the flow run is in it now."""
    if client.read_flow_run(flow_run_id).state_id != judged.id:
        return False
    made = _compare_and_set(client, flow_run_id, judged, proposed)
    return made is not None and not restored(client, flow_run_id, judged, made)


def restored(client: SyncPrefectClient, flow_run_id: UUID, judged: State, made: UUID) -> bool:
    """Whether another state than `made` followed `judged`; that one has then been restored.

    Times do not order states that were proposed in the same moment, so any other one since `judged` counts. Where
    another watcher scheduled the run as well, both mean the same and nothing is restored.
    """
    states = {state.id: state for state in client.read_flow_run_states(flow_run_id)}
    others = [one for one in states.values() if one.timestamp >= judged.timestamp and one.id not in (judged.id, made)]
    if not others:
        return False
    other = max(others, key=lambda state: state.timestamp)
    if not other.is_scheduled():
        logger.warning("Flow run %s became %s while it was judged; that state is restored.", flow_run_id, other.name)
        _compare_and_set(client, flow_run_id, states[made], other)
    return True


def _compare_and_set(client: SyncPrefectClient, flow_run_id: UUID, expected: State, proposed: State) -> UUID | None:
    """Id of the state that the server made; None if the run is no longer of the expected type or a rule refused."""
    state = to_state_create(proposed)
    # A repeated request is refused.
    state.state_details.transition_id = uuid4()
    body = {
        "flow_runs": {"id": {"any_": [str(flow_run_id)]}, "state": {"type": {"any_": [expected.type.value]}}},
        "state": state.model_dump(mode="json"),
        "force": False,
    }
    path = cast(Any, "/flow_runs/bulk_set_state")  # missing in the client's list of routes
    results = client.request("POST", path, json=body).json()["results"]
    accepted = [result["state"]["id"] for result in results if result["status"] == "ACCEPT"]
    return UUID(accepted[0]) if accepted else None
