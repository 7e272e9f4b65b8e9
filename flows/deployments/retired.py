"""Deletes automations of earlier versions from a Prefect server.

`hanclip-zombies` restarted flow runs by force whenever their heartbeats were missing, also those that were over. The
flow `reap` has taken its place; the two must not run side by side. Needs PREFECT_API_URL.
"""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.events.filters import AutomationFilter, AutomationFilterName

from flows.deployments.paging import automations

RETIRED = ("hanclip-zombies",)


def delete_retired_automations() -> list[str]:
    """Delete them all, however many have the same name. Returns their names."""
    with get_client(sync_client=True) as client:
        found = automations(client, AutomationFilter(name=AutomationFilterName(any_=list(RETIRED))))
        for automation in found:
            client.delete_automation(automation.id)
    return [automation.name for automation in found]
