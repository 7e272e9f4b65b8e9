"""Opens the table of duplicates of a dataset, and tells whether it is about the current rows.

In: a workspace with the table `facts`, and the address of the table. Out: its state, and the table `alike`: the rows
that have duplicates, or were dropped, with the columns that older versions lack as nulls. A table that is not about the
current rows gives no rows, since its counts and groups would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.tables import read_facts
from pipeline.dataset import layout
from pipeline.scratch.workspace import Workspace

_LATER = {"duplicate_of": "VARCHAR", "duplicate_in": "VARCHAR", "cosine": "FLOAT", "bits": "TINYINT"}
_ALIKE = """
SELECT id, source_fingerprint, "group" AS name,
       CASE WHEN "group" IS NULL THEN 1 ELSE count(*) OVER (PARTITION BY "group") END AS size,
       coalesce(rung, 'unknown') AS rung, {later}, keep
FROM dedup WHERE ("group" IS NOT NULL OR NOT keep)
"""


def _default_settings() -> dict[str, Any]:
    return DedupSettings().model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class DuplicatesTable:
    """The state of the table.

    Attributes:
        exists: whether there is one.
        rows: how many rows it has.
        missing: current rows that it lacks: they came later.
        gone: rows of it that are not current any more.
        settings: those of the run that wrote it, by name.
    """

    exists: bool = False
    rows: int = 0
    missing: int = 0
    gone: int = 0
    settings: dict[str, Any] = field(default_factory=_default_settings)

    @property
    def current(self) -> bool:
        """Whether it is about the current rows, all of them and no others."""
        return self.exists and not self.missing and not self.gone


def open_table(work: Workspace, out: str) -> DuplicatesTable:
    """Create the table `alike` in `work`, which has the table `facts` of the current rows of the dataset at `out`.

    Raises:
        StorageError: the table of duplicates cannot be read.
    """
    uri = layout.dedup_uri(out)
    found = read_facts(uri)
    if found is None:
        columns = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _COLUMNS.items())
        work.execute(f"CREATE VIEW alike AS SELECT {columns} WHERE false")
        return DuplicatesTable()
    filesystem, path = storage.arrow_filesystem(uri)
    with storage.translated(uri):
        rows = pads.dataset(path, filesystem=filesystem)
    work.register("dedup", rows)
    state = _state(work, found)
    later = ", ".join(_later(rows.schema, name) for name in _LATER)
    work.store("alike", _ALIKE.format(later=later) + ("" if state.current else " AND false"))
    return state


_COLUMNS = {
    **dict.fromkeys(("id", "source_fingerprint", "name"), "VARCHAR"),
    "size": "BIGINT",
    "rung": "VARCHAR",
    **_LATER,
    "keep": "BOOLEAN",
}


def _later(schema: pa.Schema, name: str) -> str:
    return name if name in schema.names else f"NULL::{_LATER[name]} AS {name}"


def _state(work: Workspace, facts: dict[str, Any]) -> DuplicatesTable:
    [(rows, missing, gone)] = work.rows(
        "SELECT count(keep), count(*) FILTER (keep IS NULL), count(*) FILTER (place IS NULL) "
        "FROM facts FULL JOIN (SELECT id, source_fingerprint, keep FROM dedup) USING (id, source_fingerprint)"
    )
    settings = {**_default_settings(), **facts.get("settings", {})}
    return DuplicatesTable(True, int(rows), int(missing), int(gone), settings)
