"""What a sync did, and how a collection compares with its dataset, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What a sync had to compare: nothing at all, the ids of files that came since the last one, or all ids.
Compared = Literal["nothing", "changes", "all"]


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did, or would do.

    Attributes:
        out, to, dest, collection: from where to where.
        compared: see `Compared`.
        inserted, replaced, deleted: rows.
        rows: rows of the collection now.
        requests: calls of the target, by name.
        resumed: whether an earlier sync did not end.
    """

    out: str
    to: str
    dest: str
    collection: str
    compared: Compared
    inserted: int
    replaced: int
    deleted: int
    rows: int
    requests: dict[str, int]
    resumed: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """How a collection compares with the latest state of its dataset.

    Attributes:
        out, to, dest, collection: what was compared.
        expected, held: rows that the collection should hold, and that it holds.
        compared: ids of the dataset that were compared.
        missing, stale, extra: rows that it lacks, holds in another version, or should not hold.
        examples: ids of some of them.
        complete: whether its last sync ended.
    """

    out: str
    to: str
    dest: str
    collection: str
    expected: int
    held: int
    compared: int
    missing: int
    stale: int
    extra: int
    examples: dict[str, list[str]]
    complete: bool

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return self.complete and self.expected == self.held and not (self.missing or self.stale or self.extra)
