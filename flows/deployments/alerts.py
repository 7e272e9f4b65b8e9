"""The automations that send alerts about flow runs to a webhook.

In: the file, and the webhook's address in HANCLIP_ALERT_WEBHOOK. Out: a Webhook block and one automation per alert on
the Prefect server. Without the variable nothing is created; what exists is updated and keeps its address. The address
may hold a secret: it is stored encrypted and never printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import CallWebhook
from prefect.events.filters import AutomationFilter, AutomationFilterName, AutomationFilterTags
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from flows.deployments.paging import automations
from pipeline.errors import ConfigError, RunError
from pipeline.validation import validated
from pipeline.yaml_text import read_yaml

VARIABLE = "HANCLIP_ALERT_WEBHOOK"
#: Name of the block, and tag of our automations.
BLOCK, TAG = "hanclip-alerts", "hanclip-alerts"
_COMPARED = ("description", "tags", "trigger", "actions")


class AlertRule(BaseModel):
    """One alert of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    severity: Literal["warning", "critical"]
    description: str
    action: str
    trigger: EventTrigger

    def automation(self, block_id: UUID, payload: str) -> AutomationCore:
        """The automation that sends `payload` to the webhook of this block."""
        return AutomationCore(
            name=self.name,
            description=f"{self.description} {self.action}",
            enabled=True,
            tags=[TAG, self.severity],
            trigger=self.trigger,
            actions=[CallWebhook(block_document_id=block_id, payload=payload)],
        )


class AlertFile(BaseModel):
    """The whole file; `definitions` holds what several alerts share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    payload: str
    alerts: tuple[AlertRule, ...]
    definitions: dict[str, Any] = Field(default_factory=dict)


def read_alerts(path: Path) -> AlertFile:
    """The alerts of the file; raises ConfigError for a wrong entry."""
    return validated(AlertFile, read_yaml(path, "Give a file of alerts.").tree, str(path))


def apply_alerts(path: Path, environment: Mapping[str, str]) -> list[str]:
    """Create or update the automations. Returns a line per change.

    Raises:
        ConfigError: the address or the file is wrong.
        RunError: the server refuses them or does not answer.
    """
    try:
        return _apply_all(read_alerts(path), environment)
    except PrefectHTTPStatusError as error:
        # Its text may quote the request, and with it the address.
        status = error.response.status_code
        raise RunError(f"The Prefect server refuses the alerts with status {status}. Read its log.") from None
    except httpx.HTTPError as error:
        name = type(error).__name__
        raise RunError(f"The Prefect server did not answer for the alerts: {name}. Check PREFECT_API_URL.") from None


def _apply_all(file: AlertFile, environment: Mapping[str, str]) -> list[str]:
    names = [rule.name for rule in file.alerts]
    with get_client(sync_client=True) as client:
        block_id = _block(client, environment.get(VARIABLE, "").strip())
        if block_id is None:
            return [f"Alerts: {VARIABLE} is not set, so no automation sends alerts"]
        held = held_automations(client, names)
        wanted = [rule.automation(block_id, file.payload) for rule in file.alerts]
        lines = [line for one in wanted if (line := _apply(client, one, held))]
        for gone in held:
            client.delete_automation(gone.id)
            lines.append(f"{gone.name}: deleted")
    return lines or [f"Alerts: {len(wanted)} automations unchanged"]


def held_automations(client: SyncPrefectClient, names: Sequence[str]) -> list[Automation]:
    """The automations that are ours by their tag, or have one of our names, however many the server has."""
    ours = AutomationFilter(tags=AutomationFilterTags(all_=[TAG]))
    named = AutomationFilter(name=AutomationFilterName(any_=list(names)))
    found = [*automations(client, ours), *automations(client, named)]
    return list({one.id: one for one in found}.values())


def _apply(client: SyncPrefectClient, wanted: AutomationCore, held: list[Automation]) -> str:
    """Bring one automation up to date and take it out of `held`."""
    found = next((one for one in held if one.name == wanted.name), None)
    if found is None:
        client.create_automation(wanted)
        return f"{wanted.name}: created"
    held.remove(found)
    kept = wanted.model_copy(update={"enabled": found.enabled})
    # Compared as models: in JSON the events of a trigger, which are sets, have no order.
    if all(getattr(found, name) == getattr(kept, name) for name in _COMPARED):
        return ""
    client.update_automation(found.id, kept)
    return f"{wanted.name}: updated"


def _block(client: SyncPrefectClient, url: str) -> UUID | None:
    """The block with the webhook's address; None if there is none and no address to make it of."""
    if url:
        check_webhook(url)
        Webhook(url=SecretStr(url), headers={"Content-Type": "application/json"}).save(BLOCK, overwrite=True)  # type: ignore[arg-type]
    try:
        return client.read_block_document_by_name(BLOCK, "webhook").id
    except ObjectNotFound:
        return None


def check_webhook(url: str) -> None:
    """Raise ConfigError, which does not show the address, if no webhook can have it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{VARIABLE} is not a web address: it needs http:// or https:// and a host.")
