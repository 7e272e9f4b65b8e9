"""Records what was deployed last, as a variable on the Prefect server.

In: a deployment. Out: its values and schedules as they were deployed. Without the record, a change by an operator looks
the same as an old default.
"""

from __future__ import annotations

import re
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from pydantic import BaseModel, ConfigDict, Field


class Deployed(BaseModel):
    """What a deploy sent to the server."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    values: dict[str, Any] = Field(default_factory=dict, description="The deployment's values, by field.")
    schedules: dict[str, dict[str, Any]] = Field(default_factory=dict, description="By slug.")


async def read(client: PrefectClient, deployment: str) -> Deployed | None:
    """The record of `FLOW/NAME`; None if there is none, as after an older version of hanclip."""
    found = await client.read_variable_by_name(_name(deployment))
    return Deployed.model_validate(found.value) if found and isinstance(found.value, dict) else None


async def write(client: PrefectClient, deployment: str, record: Deployed) -> None:
    """Replace the record of `FLOW/NAME`."""
    name, value = _name(deployment), record.model_dump(mode="json")
    if await client.read_variable_by_name(name) is None:
        await client.create_variable(VariableCreate(name=name, value=value, tags=["hanclip"]))
    else:
        await client.update_variable(VariableUpdate(name=name, value=value))


def _name(deployment: str) -> str:
    return "hanclip_deployed_" + re.sub(r"[^a-z0-9]+", "_", deployment.lower())
