"""Records that could not be embedded, by reason, with examples.

In: the quarantine of a dataset. Out: for each reason its count, whether a retry may help, and a few records. A record
that has changed since it failed is none of them: its new state counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.dataset.checks.held import held_records
from pipeline.dataset.checks.status import Status
from pipeline.report.material import Material
from pipeline.vocabulary import TRANSIENT_REASONS

_EXAMPLES = 3
_DETAIL_LENGTH = 240


@dataclass(frozen=True, slots=True)
class Example:
    """A record in quarantine."""

    id: str
    stage: str
    detail: str


@dataclass(frozen=True, slots=True)
class QuarantineReason:
    """Records with one reason. `transient`: `hanclip retry` may succeed."""

    reason: str
    count: int
    transient: bool
    examples: list[Example]


def quarantine(material: Material, status: Status) -> list[QuarantineReason]:
    """The reasons, most frequent first; the counts are those of `hanclip status`."""
    examples = _examples(material) if status.quarantined else {}
    ordered = sorted(status.quarantined.items(), key=lambda item: (-item[1], item[0]))
    return [QuarantineReason(reason, n, reason in TRANSIENT_REASONS, examples.get(reason, [])) for reason, n in ordered]


def _examples(material: Material) -> dict[str, list[Example]]:
    material.work.register("quarantined", material.dataset.quarantine())
    material.work.register("held", held_records(material.dataset.uri))
    found: dict[str, list[Example]] = {}
    for reason, record_id, stage, detail in material.work.rows(
        f"""
        WITH last AS (
            SELECT id, reason, stage, detail FROM quarantined SEMI JOIN held USING (id, source_fingerprint)
            QUALIFY row_number() OVER (PARTITION BY id, source_fingerprint ORDER BY attempts DESC) = 1
        )
        SELECT reason, id, stage, left(detail, {_DETAIL_LENGTH}) FROM last
        QUALIFY row_number() OVER (PARTITION BY reason ORDER BY id) <= {_EXAMPLES} ORDER BY reason, id
        """
    ):
        found.setdefault(reason, []).append(Example(record_id, stage, detail))
    return found
