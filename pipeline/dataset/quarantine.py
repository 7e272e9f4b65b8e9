"""Quarantine rows: the one place that makes a row of `schema.QUARANTINE` from a failure."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pipeline.dataset.schema import QUARANTINE
from pipeline.records import Failure, Record
from pipeline.vocabulary import Reason, Stage


def quarantine_row(record: Record, failure: Failure, attempts: int) -> dict[str, Any]:
    """A row of `schema.QUARANTINE`."""
    return {
        "id": record.id,
        "image_uri": record.image_uri,
        "stage": str(failure.stage),
        "reason": str(failure.reason),
        "detail": failure.detail[:500],
        "attempts": attempts,
        "source_fingerprint": record.source_fingerprint,
    }


_DETAILS = {
    Reason.NOT_FINITE: "the model gave a vector with NaN or infinity; try --dtype fp32",
    Reason.TEXT_TOO_LONG: "the text has more tokens than the model takes: shorten it, or change --text-overflow",
}


def _quarantined(bad: pa.Table, stage: Stage, reason: Reason, attempts: int) -> pa.Table:
    uris = bad["image_uri"].to_pylist() if "image_uri" in bad.column_names else [None] * bad.num_rows
    failed = [
        {
            "id": row["id"],
            "image_uri": uri,
            "stage": str(stage),
            "reason": str(reason),
            "detail": _DETAILS[reason],
            "attempts": attempts,
            "source_fingerprint": row["source_fingerprint"],
        }
        for row, uri in zip(bad.select(["id", "source_fingerprint"]).to_pylist(), uris, strict=True)
    ]
    return pa.Table.from_pylist(failed, schema=QUARANTINE)
