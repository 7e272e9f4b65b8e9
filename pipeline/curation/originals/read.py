"""Reads the encoded images of a dataset's rows again from their sources, for HTML pages.

In: rows of a dataset. Out: the bytes that were embedded, verified by their sha256, or a failure if the image is gone or
has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from pipeline.curation.originals.image_reader import NO_OVERRIDES, ImageReader, ImageRequest, ReadOverrides
from pipeline.curation.originals.places import locate
from pipeline.dataset.dataset import Dataset
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
    schema = dataset.identity.schema
    names = [name for name in ("image_uri", "image_sha256") if name in schema.names]
    with Workspace() as work:
        numbers = pa.array(range(rows.num_rows), pa.int64())
        work.register("asked", rows.select(["id", "source_fingerprint"]).append_column("hanclip_row", numbers))
        work.register("embedded", dataset.embeddings(["id", "source_fingerprint", *names]))
        work.execute(_DETAILS.format(columns="".join(f', "{name}"' for name in names)))
        with ImageReader(dataset, locate(dataset.uri, work, "details"), overrides) as images:
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
            results: Iterator[bytes | Failure | None] = iter([None] * len(rows))
        else:
            results = images.read([ImageRequest.of(row) for row in rows])
        for row, result in zip(rows, results, strict=True):
            image, failure = (None, result) if isinstance(result, Failure) else (result, None)
            yield Original(row["id"], image, failure, row.get("image_uri"))
