"""Reads the original images of an export's rows, a part at a time, from where the runs read them.

In: a dataset. Out: for the ids of some latest rows, the bytes that were embedded, or None where the image is gone or
has changed. Where all images are is looked up once, so a part costs no pass over the plans.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa

from pipeline.curation.originals.image_reader import ImageReader, ImageRequest
from pipeline.curation.originals.places import locate
from pipeline.curation.tars.sample import image_member
from pipeline.curation.vectors import KEY
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.latest_rows import latest
from pipeline.errors import UsageError
from pipeline.records import Failure
from pipeline.scratch.workspace import Workspace

#: Hugging Face's type of images: encoded bytes and a name.
IMAGE_TYPE = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
#: Rows whose images are in memory at once.
BLOCK_ROWS = 256
_COLUMNS = ["id", "source_fingerprint", "image_uri", "image_sha256"]
#: A row that was written since the images were looked up has none.
_ASKED = "SELECT asked.id, located.* EXCLUDE (id) FROM asked LEFT JOIN located USING ({key}) ORDER BY hanclip_row"


class OriginalImages:
    """The images of the latest rows of a dataset. Use as a context manager.

    Attributes:
        missing: rows so far whose image could not be read.

    Raises:
        UsageError: the dataset has no images.
    """

    def __init__(self, out: str) -> None:
        self._dataset = Dataset.open(out)
        if not self._dataset.identity.has_images:
            raise UsageError(f"{self._dataset.uri} has no images: omit --images.")
        self._stack = ExitStack()
        self.missing = 0

    def __enter__(self) -> OriginalImages:
        self._work = self._stack.enter_context(Workspace())
        self._work.register("current", latest(self._dataset.uri, _COLUMNS))
        self._work.execute("CREATE TABLE wanted AS SELECT * FROM current")
        files = locate(self._dataset.uri, self._work, "wanted")
        self._reader = self._stack.enter_context(ImageReader(self._dataset, files))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def column(self, rows: pa.Table) -> pa.Array:
        """The images of these rows, in their order, as `IMAGE_TYPE`; null where one could not be read.

        Rows without the column `source_fingerprint` are told apart by their ids alone.

        Raises:
            UnavailableError: a store seems to be down.
        """
        key = [name for name in KEY if name in rows.column_names]
        asked = rows.select(key).append_column("hanclip_row", pa.array(range(rows.num_rows), pa.int64()))
        self._work.register("asked", asked)
        found = self._work.batches(_ASKED.format(key=", ".join(key)))
        return pa.array(self._values([row for batch in found for row in batch.to_pylist()]), IMAGE_TYPE)

    def _values(self, rows: list[dict[str, object]]) -> Iterator[dict[str, object] | None]:
        for row, image in zip(rows, self._reader.read([ImageRequest.of(row) for row in rows]), strict=True):
            if isinstance(image, Failure):
                self.missing += 1
                yield None
            else:
                yield {"bytes": image, "path": image_member(row, image)}
