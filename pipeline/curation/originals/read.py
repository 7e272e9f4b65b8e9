"""Reads the encoded images of a dataset's rows again from their sources, for HTML pages.

In: rows of a dataset. Out: the bytes that were embedded, verified by their sha256, or a failure if the image is gone or
has changed. What is asked for decides what is read of the dataset and of its plans: a page that shows a few rows of a
million reads the row groups that they are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.curation.originals.image_reader import NO_OVERRIDES, ImageReader, ImageRequest, ReadOverrides
from pipeline.curation.originals.places import locate
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.outcomes import Outcome, OutcomeFile, RowNumbers, gather, read_rows, tables_behind
from pipeline.dataset.scan import choose
from pipeline.records import Failure
from pipeline.scratch.workspace import Workspace

_BLOCK_ROWS = 1024
#: Shorter timeouts than in a run: a page can do without a picture.
FOR_PAGES: ReadOverrides = {"read_timeout_s": 10.0, "retry_timeout_s": 3.0}


@dataclass(frozen=True, slots=True)
class Original:
    """A row with its original image.

    Attributes:
        id: of the row.
        image: its encoded bytes; None in a dataset without images, or if there is a failure.
        image_uri: where the image is, as the dataset has it.
        failure: why the image could not be read.
    """

    id: str
    image: bytes | None
    failure: Failure | None = None
    image_uri: str | None = None


def originals(out: str, rows: pa.Table, overrides: ReadOverrides = NO_OVERRIDES) -> Iterator[Original]:
    """Read the originals of some latest rows of `out`, in the order of `rows` (`id`, `source_fingerprint`).

    `overrides` replaces settings of the runs.

    Raises:
        IdentityError: there is no dataset.
        UnavailableError: a store seems to be down.
        StorageError, RunError: the dataset cannot be read.
    """
    dataset = Dataset.open(out)
    keys = rows.select(_KEYS)
    with Workspace() as work:
        work.register("asked", keys.append_column("hanclip_row", pa.array(range(rows.num_rows), pa.int64())))
        work.register("embedded", _embedded(dataset, work, pc.unique(rows["id"]).to_pylist()))
        work.execute(_DETAILS)
        with ImageReader(dataset, locate(dataset.uri, work, "details"), overrides) as images:
            for batch in work.batches("SELECT * FROM located ORDER BY hanclip_row"):
                yield from _originals(dataset, images, batch)


_KEYS = ["id", "source_fingerprint"]
#: The newest row of each state that was asked for.
_PLACES = f"""
SELECT max(place) AS place FROM outcomes SEMI JOIN asked USING (id, source_fingerprint)
WHERE kind = {Outcome.EMBEDDED} GROUP BY id, source_fingerprint ORDER BY place
"""
_DETAILS = """
CREATE TABLE details AS SELECT * FROM asked LEFT JOIN embedded USING (id, source_fingerprint)
"""


def _embedded(dataset: Dataset, work: Workspace, ids: Sequence[str]) -> pa.Table:
    """The rows of the table `asked`, with what is known of their images."""
    schema = dataset.identity.schema
    names = [*_KEYS, *(name for name in ("image_uri", "image_sha256") if name in schema.names)]
    files = gather(dataset, work, ids)

    def read(file: OutcomeFile, numbers: RowNumbers) -> pa.Table:
        return read_rows(file.uri, numbers, names).select(names)

    found = tables_behind(work.batches(_PLACES), files, read)
    return pa.concat_tables([choose(schema, names).empty_table(), *found], promote_options="default")


def _originals(dataset: Dataset, images: ImageReader, batch: pa.RecordBatch) -> Iterator[Original]:
    for start in range(0, batch.num_rows, _BLOCK_ROWS):
        rows = batch.slice(start, _BLOCK_ROWS).to_pylist()
        if not dataset.identity.has_images:
            results: Iterator[bytes | Failure | None] = iter([None] * len(rows))
        else:
            results = images.read([ImageRequest.of(row) for row in rows])
        for row, result in zip(rows, results, strict=True):
            image, failure = (None, result) if isinstance(result, Failure) else (result, None)
            yield Original(row["id"], image, failure, row.get("image_uri"))
