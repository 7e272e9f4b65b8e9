"""Reads what the Prefect server knows of flow runs: states, signs of life, and the server's own time.

Out: `Seen` for the judge. Signs are heartbeat events and updates of artifacts, each at the time of its arrival at the
server. A machine with a wrong clock therefore changes nothing, and a heartbeat that is late can only delay a revival.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import pairwise
from statistics import median
from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import ArtifactSort
from prefect.events.filters import EventFilter, EventIDFilter, EventNameFilter, EventOccurredFilter, EventResourceFilter

from flows.scheduled.revival.history import cancel_requested, revivals
from flows.scheduled.revival.judge import Seen, Signs
from flows.scheduled.revival.policy import RevivalPolicy
from pipeline.errors import RunError

#: The most events that the server returns at once.
_PAGE = 50
_STORED_WITHIN_S = 90.0
#: Times of occurrence come from other machines, so they select nothing.
_ALWAYS = EventOccurredFilter(
    since=datetime(2000, 1, 1, tzinfo=UTC),  # type: ignore[arg-type]  # Prefect's own subclass
    until=datetime(2100, 1, 1, tzinfo=UTC),  # type: ignore[arg-type]
)


def server_time(client: SyncPrefectClient) -> datetime:
    """The time by the clock that stamps states and arriving events, to the second.

    Raises:
        RunError: an answer of the server does not have it.
    """
    date = client.request("GET", "/health").headers.get("date")
    if date is None:
        raise RunError(
            "The Prefect server's answers have no Date header: let the proxy in front of it pass the header on."
        )
    return parsedate_to_datetime(date)


def see(client: SyncPrefectClient, flow_run: FlowRun, state: State, now: datetime, policy: RevivalPolicy) -> Seen:
    """What the server knows of `flow_run`, which is in `state`; whether it can be restarted is left to the caller."""
    states = client.read_flow_run_states(flow_run.id)
    counted = [one for one in revivals(states) if (now - one.at).total_seconds() < policy.window_s]
    alive = state.type in (StateType.RUNNING, StateType.CANCELLING)
    return Seen(
        state=state.type,
        since=state.timestamp,
        message=state.message or "",
        signs=_signs(client, flow_run, state.timestamp) if alive else Signs(),
        revivals=len(counted),
        restartable=flow_run.deployment_id is not None,
        cancelled=cancel_requested(states),
    )


def require_stored_events(client: SyncPrefectClient, within_s: float = _STORED_WITHIN_S) -> None:
    """Return once an event that is sent now can be read, as can all that arrived before it.

    Raises:
        RunError: the server stores no events, so that every flow run would look silent.
    """
    event_id = uuid4()
    event = {
        "id": str(event_id),
        "event": "hanclip.reap.probe",
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": "hanclip.reap"},
    }
    client.request("POST", "/events", json=[event])
    wanted = EventFilter(id=EventIDFilter(id=[event_id]), occurred=_ALWAYS)
    end_s = time.monotonic() + within_s
    while not client.read_events(wanted, limit=1).events:
        if time.monotonic() > end_s:
            raise RunError(
                f"The Prefect server has not stored an event for {within_s:g} s, so dead flow runs cannot be told from"
                " healthy ones, and no silent one was restarted. Check the server's log, and that"
                " PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED is not false."
            )
        time.sleep(0.5)


def _signs(client: SyncPrefectClient, flow_run: FlowRun, since: datetime) -> Signs:
    page = client.read_events(
        EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
            resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run.id}"]),
            occurred=_ALWAYS,
        ),
        limit=_PAGE,
    )
    beats = sorted(event.received for event in page.events if event.received >= since)
    gaps_s = [(after - before).total_seconds() for before, after in pairwise(beats)]
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run.id]))
    shown = client.read_artifacts(artifact_filter=mine, sort=ArtifactSort.UPDATED_DESC, limit=1)
    updates = [artifact.updated for artifact in shown if artifact.updated]
    return Signs(
        heartbeats=page.total,
        last=max([*beats, *updates], default=None),
        interval_s=median(gaps_s) if gaps_s else None,
        heard=bool(beats),
    )
