"""Counts of a run: records, bytes and seconds per stage. They add with `+` at every level."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of a chunk, a shard or a run.

    Attributes:
        embedded: records with vectors.
        quarantined: records in quarantine, by reason.
        bytes_read: encoded bytes fetched.
        bytes_written: bytes of committed Parquet files.
        read_s: seconds a decoder waited for bytes.
        decode_s: seconds a decoder worked on pixels.
        embed_s: seconds an embedder worked.
        write_s: seconds a writer worked.
        texts: records that have a text.
        texts_too_long: of these, those with more tokens than the model takes, whatever their outcome.
        texts_encoded: distinct texts that went through the text tower.
    """

    embedded: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    bytes_read: int = 0
    bytes_written: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    embed_s: float = 0.0
    write_s: float = 0.0
    texts: int = 0
    texts_too_long: int = 0
    texts_encoded: int = 0

    @property
    def records(self) -> int:
        """Records with an outcome: embedded + quarantined."""
        return self.embedded + self.quarantined.total()

    def __add__(self, other: Stats) -> Stats:
        return Stats(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_json(self) -> dict[str, Any]:
        """Plain values for `progress.json` and `summary.json`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "quarantined": dict(self.quarantined)}
