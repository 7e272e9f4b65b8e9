"""The encoded images of a dataset's rows, read again from where they came from: for pages of pictures and for tars.

In: rows of a dataset. Out: their bytes, which are those that were embedded (their sha256 says so), or why they cannot
be had: an image that is gone or changed since is a failure, never another picture. Texts and other columns come from
the dataset, which holds them as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.curation.originals.image_reader import AS_PLANNED, ImageReader, Patience, Wanted
from pipeline.curation.originals.places import locate
from pipeline.dataset.dataset import Dataset
from pipeline.records import Failure
from pipeline.scratch.workspace import Workspace

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Original:
    """A row as its source has it.

    Attributes:
        id: of the row.
        image: its encoded bytes; None of a dataset without images, and where there is a failure.
        text: as the dataset has it.
        extra: the source's other columns, as the dataset has them.
        failure: why the image cannot be had.
    """

    id: str
    image: bytes | None
    text: str | None
    extra: Mapping[str, Any]
    failure: Failure | None = None


def originals(out: str, rows: pa.Table, patience: Patience = AS_PLANNED) -> Iterator[Original]:
    """Read some of the latest rows of `out` again, in the order of `rows` (`id`, `source_fingerprint`).

    `patience` holds limits of reading that are to hold in place of those of the runs.

    Raises:
        IdentityError: there is no dataset.
        UnavailableError: a store is down, as far as one can tell.
        StorageError, RunError: the dataset cannot be read.
    """
    dataset = Dataset.open(out)
    schema = dataset.identity.schema
    names = [
        name for name in ("image_uri", "image_sha256", "text", *dataset.identity.extra.names) if name in schema.names
    ]
    with Workspace() as work:
        numbers = pa.array(range(rows.num_rows), pa.int64())
        work.register("asked", rows.select(["id", "source_fingerprint"]).append_column("hanclip_row", numbers))
        work.register("embedded", dataset.embeddings(["id", "source_fingerprint", *names]))
        work.execute(_DETAILS.format(columns="".join(f', "{name}"' for name in names)))
        with ImageReader(dataset, locate(dataset.uri, work, "details"), patience) as images:
            for batch in work.batches("SELECT * FROM located ORDER BY hanclip_row"):
                yield from _originals(dataset, images, batch)


_DETAILS = """
CREATE TABLE details AS SELECT hanclip_row, id, source_fingerprint{columns}
FROM asked LEFT JOIN embedded USING (id, source_fingerprint)
QUALIFY row_number() OVER (PARTITION BY hanclip_row) = 1
"""


def _originals(dataset: Dataset, images: ImageReader, batch: pa.RecordBatch) -> Iterator[Original]:
    for start in range(0, batch.num_rows, _BLOCK_ROWS):
        rows = batch.slice(start, _BLOCK_ROWS).to_pylist()
        if not dataset.identity.has_images:
            found: Iterator[bytes | Failure | None] = iter([None] * len(rows))
        else:
            found = images.read([Wanted.of(row) for row in rows])
        for row, got in zip(rows, found, strict=True):
            extra = {name: row[name] for name in dataset.identity.extra.names}
            failure = got if isinstance(got, Failure) else None
            yield Original(row["id"], None if failure else got, row.get("text"), extra, failure)  # type: ignore[arg-type]
