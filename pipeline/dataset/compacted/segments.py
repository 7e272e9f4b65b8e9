"""Segments: ranges of consecutive rows of a compacted file that come from one run.

A file that a run wrote has rows of one listing, and its footer names the run. A compacted file has rows of several, and
which outcome of an id is the newest depends on their runs. So its rows are sorted by the run that listed them, and its
footer holds one segment per run and date, as JSON: for the rows of the file itself, and for its quarantine file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows `first` to `first + rows` of a file.

    Attributes:
        first, rows: which rows.
        planned_by: the run that listed the records.
        run_id: the run that embedded them.
        run_date: the date that they were planned with, YYYY-MM-DD.
    """

    first: int
    rows: int
    planned_by: str
    run_id: str
    run_date: str


def encode_segments(segments: Iterable[Segment]) -> str:
    """The text that a footer holds."""
    return json.dumps([asdict(segment) for segment in segments], separators=(",", ":"))


def decode_segments(facts: Mapping[str, str], name: str) -> tuple[Segment, ...]:
    """The segments in the entry `name` of a footer; none if the file is not compacted. Raises ValueError."""
    try:
        return tuple(Segment(**each) for each in json.loads(facts.get(name, "[]")))
    except TypeError as error:
        raise ValueError(f"its {name} are not as expected: {error}") from error
