"""Makes rows of `schema.QUARANTINE`, for every role that fails a record."""

from __future__ import annotations

from typing import Any

from pipeline.records import Failure

#: Characters of `detail` that are stored: a decoder or a store may report pages.
_DETAIL_CHARACTERS = 500


def quarantine_row(
    id_: str, image_uri: str | None, source_fingerprint: str, failure: Failure, attempts: int
) -> dict[str, Any]:
    """A row of `schema.QUARANTINE` for a record that failed on its `attempts`-th attempt."""
    return {
        "id": id_,
        "source_fingerprint": source_fingerprint,
        "image_uri": image_uri,
        "stage": str(failure.stage),
        "reason": str(failure.reason),
        "detail": failure.detail[:_DETAIL_CHARACTERS],
        "attempts": attempts,
    }
