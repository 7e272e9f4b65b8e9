"""Writes the artifacts of a flow run that its summary links to: the report, and tables.

Their keys are the same every night, so that Prefect's artifact page shows the latest of each and its history.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

logger = logging.getLogger(__name__)

_EVERY_S = 5.0


@contextmanager
def best_effort() -> Iterator[None]:
    """Tolerates errors of the Prefect server: the job is followed even if artifacts cannot be written."""
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        logger.warning("An artifact was not written: %s. The next update is tried when it is due.", error)


def report_page(flow: str, markdown: str) -> str:
    """Write the report. Returns the address of its page, empty if the server did not store it."""
    made: object = None
    with best_effort():
        made = create_markdown_artifact(markdown, key=f"{flow}-report", description="Every run and step in detail")
    # A path: the server's name in PREFECT_API_URL may be unknown to browsers.
    return f"/artifacts/artifact/{made}" if made else ""


class LiveTable:
    """A table, replaced every few seconds."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._id: UUID | None = None
        self._shown_s = -_EVERY_S

    def show(self, table: list[dict[str, Any]], *, last: bool = False) -> None:
        """Show `table`, unless it was just updated."""
        if time.monotonic() - self._shown_s < _EVERY_S and not last:
            return
        self._shown_s = time.monotonic()
        with best_effort():
            if self._id is None:
                made = create_table_artifact(table, key=self._key, description=self._description)
                self._id = cast(UUID, made)
            else:
                with get_client(sync_client=True) as client:
                    client.update_artifact(self._id, ArtifactUpdate(data=json.dumps(table)))
