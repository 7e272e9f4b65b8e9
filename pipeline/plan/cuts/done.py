"""Makes the keys of all records with an outcome a table, from the index of keys where it has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.keys.facts import FileVersion
from pipeline.dataset.keys.reading import ROW_KEYS, KeyReader
from pipeline.dataset.layout import DataFile
from pipeline.dataset.scan import choose, scan_files
from pipeline.dataset.schema import QUARANTINE
from pipeline.scratch.workspace import Workspace

_FILE = pa.field("file", pa.int32())
#: More attempts than any retry makes: an embedded record is never tried again.
_DONE = """
CREATE VIEW done AS
SELECT id, source_fingerprint, 2147483647 AS attempts, file FROM embedded
UNION ALL SELECT id, source_fingerprint, attempts, file FROM quarantined
UNION ALL SELECT id, source_fingerprint, coalesce(attempts, 2147483647), file FROM indexed
"""


def register_done(
    work: Workspace, dataset: Dataset, files: Sequence[DataFile], numbers: Mapping[str, int], ids: tuple[str, str]
) -> None:
    """Make the view `done` in `work`, which one query can read: id, source_fingerprint, attempts, file.

    Args:
        work: for the view.
        dataset: has the outcomes.
        files: its embeddings files.
        numbers: of the shards; `file` is that of a row's shard.
        ids: the smallest and the largest id of interest; some of the others are left out.
    """
    found = [*files, *dataset.quarantine_files(files)]
    keys = KeyReader(dataset.uri, [FileVersion.of(file, dataset.uri) for file in found], ids)

    def rest(quarantined: bool, columns: pa.Schema) -> pads.Dataset:
        some = [found[number] for number in keys.rest if bool(found[number].attempt) == quarantined]
        return scan_files([(file.uri, {_FILE.name: numbers[file.shard_id]}) for file in some], columns.append(_FILE))

    work.register("embedded", rest(False, choose(dataset.identity.schema, ROW_KEYS.names[:2])))
    work.register("quarantined", rest(True, choose(QUARANTINE, ROW_KEYS.names)))
    work.register("indexed", _indexed(keys, pa.array([numbers[file.shard_id] for file in found], _FILE.type)))
    work.execute(_DONE)


def _indexed(keys: KeyReader, numbers: pa.Array) -> pa.RecordBatchReader:
    """The keys that the index has, with the numbers of their shards."""
    batches = (
        batch
        for found in keys.indexed()
        for batch in found.keys.append_column(_FILE, numbers.take(pa.array(found.files))).to_batches()
    )
    return pa.RecordBatchReader.from_batches(ROW_KEYS.append(_FILE), batches)
