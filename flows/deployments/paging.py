"""Reads lists of a Prefect server as a whole. A request gets one page of them: 200 entries, or the server's limit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.filters import AutomationFilter
from prefect.events.schemas.automations import Automation

T = TypeVar("T")


def all_pages(read: Callable[[int], Sequence[T]]) -> list[T]:
    """All entries; `read` returns those from a number on, and none at the end."""
    found: list[T] = []
    while page := read(len(found)):
        found += page
    return found


def automations(client: SyncPrefectClient, wanted: AutomationFilter) -> list[Automation]:
    """All automations that `wanted` names."""
    return all_pages(lambda first: client.read_automations(automations=wanted, offset=first))
