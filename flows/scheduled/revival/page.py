"""Shows on a flow run's page how often it was revived, and why: a tag, a label and a table.

The states hold the facts (`history`); this repeats them where people look and filter.
"""

from __future__ import annotations

import json
import logging

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectException

from flows.scheduled.revival.history import Revival, revivals

logger = logging.getLogger(__name__)

#: Key of the table, and name of the tag and of the label.
KEY, TAG, LABEL = "revivals", "revived", "hanclip.revivals"


def show_revivals(client: SyncPrefectClient, flow_run: FlowRun) -> None:
    """Write all of it. An error of the server is logged: the run is revived whether or not its page shows it."""
    try:
        found = revivals(client.read_flow_run_states(flow_run.id))
        if not found:
            return
        client.update_flow_run(flow_run.id, tags=sorted({*flow_run.tags, TAG}))
        client.update_flow_run_labels(flow_run.id, {LABEL: len(found)})
        client.create_artifact(
            ArtifactCreate(
                key=KEY,
                type="table",
                description=f"How often this run was started again because its process had died: {len(found)}",
                data=json.dumps(revival_rows(found)),
                flow_run_id=flow_run.id,
            )
        )
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("The revivals of %s are not on its page: %s. Its states have them.", flow_run.name, error)


def revival_rows(found: list[Revival]) -> list[dict[str, object]]:
    """A row per revival for a table."""
    return [
        {"revival": number, "at": f"{one.at:%Y-%m-%d %H:%M:%S} UTC", "why": one.reason}
        for number, one in enumerate(found, 1)
    ]
