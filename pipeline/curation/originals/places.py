"""Finds the locations of a dataset's rows in their sources, from the plans of its runs.

In: rows in a table of a workspace. Out: the same rows with the planned record of each, from the newest plan that has a
location for it, and the runs whose configuration is needed to read it. The rows of a snapshot were copied from another
dataset, so the plans of that dataset are searched as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.config import SourceConfig
from pipeline.dataset import layout
from pipeline.dataset.history import planned_runs, stored_config
from pipeline.dataset.keys.bounds import groups_around
from pipeline.dataset.scan import scan_files
from pipeline.dataset.shard_file import opened
from pipeline.records import RECORDS
from pipeline.scratch.workspace import Workspace
from pipeline.storage import read_claim

#: Of more ids all records are read.
_FEW_IDS, _FILES_AT_ONCE = 1024, 16
#: A planned record with the number of its plan file.
_NUMBERED = RECORDS.append(pa.field("plan", pa.int64()))
_PLACE = ("image_uri", "text_uri", "container", "position", "size_bytes", "plan")
_LOCATED = """
CREATE OR REPLACE TABLE located AS
WITH known AS (
    SELECT id, source_fingerprint, arg_max({{{fields}}}, plan) AS hanclip_place
    FROM records SEMI JOIN {wanted} USING (id, source_fingerprint)
    WHERE coalesce(image_uri, text_uri, container) IS NOT NULL
    GROUP BY id, source_fingerprint
)
SELECT w.*, hanclip_place FROM {wanted} AS w LEFT JOIN known USING (id, source_fingerprint)
"""


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """Records of one run of one dataset: a file of `schema.RECORDS` rows."""

    out: str
    run_id: str
    uri: str


def locate(out: str, work: Workspace, wanted: str) -> list[PlannedFile]:
    """Create the table `located`: the rows of the table `wanted`, with the additional column `hanclip_place`.

    It is null, or a struct of `image_uri`, `text_uri`, `container`, `position` and `size_bytes`, as planned, and of
    `plan`, the number of the plan file in the list that is returned.
    """
    files = list(_planned_files(out))
    ids = [id_ for (id_,) in work.rows(f"SELECT DISTINCT id FROM {wanted} LIMIT {_FEW_IDS + 1}")]
    work.register("records", _records(files) if len(ids) > _FEW_IDS else _records_of(files, sorted(ids)))
    fields = ", ".join(f"'{name}': {name}" for name in _PLACE)
    work.execute(_LOCATED.format(wanted=wanted, fields=fields))
    return files


def source_of(file: PlannedFile) -> SourceConfig:
    """The source configuration of the run that planned the records; the defaults if the run's is gone."""
    found = stored_config(file.out, file.run_id)
    return found.source if found else SourceConfig()


def _planned_files(out: str) -> Iterator[PlannedFile]:
    """The plan files that still exist, older plans first."""
    claim = read_claim(storage.join(out, layout.SNAPSHOT))
    if claim:
        yield from _planned_files(claim["source"])
    runs = layout.runs(out)
    existing = {info.uri for infos in runs.values() for info in infos}
    for run in planned_runs(runs):
        if not claim or run.run_id != claim["run_id"]:
            yield from (PlannedFile(out, run.run_id, uri) for uri in run.record_files if uri in existing)


def _records(files: list[PlannedFile]) -> pads.Dataset:
    """All planned records, rows of `_NUMBERED`."""
    numbered = groupby(enumerate(files), lambda entry: entry[1].out)
    parts = [scan_files([(file.uri, {"plan": number}) for number, file in group], _NUMBERED) for _, group in numbered]
    return pads.dataset(parts or _NUMBERED.empty_table())


def _records_of(files: list[PlannedFile], ids: Sequence[str]) -> pa.Table:
    """The planned records of these sorted ids. A row group has those of one shard, so few row groups are read."""
    wanted = pa.array(ids, pa.string())

    def read(number: int) -> pa.Table:
        with opened(files[number].uri) as parquet:
            table = parquet.read_row_groups(groups_around(parquet.metadata, ids))
        table = table.filter(pc.is_in(table["id"], wanted))
        return table.append_column("plan", pa.repeat(pa.scalar(number, pa.int64()), table.num_rows))

    found = storage.in_threads(read, range(len(files)), _FILES_AT_ONCE)
    return pa.concat_tables([_NUMBERED.empty_table(), *found], promote_options="default")
