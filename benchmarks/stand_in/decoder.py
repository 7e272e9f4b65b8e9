"""A decoder that reads and decodes nothing: the same pixels for every record, at a given rate."""

from __future__ import annotations

import threading
import time
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.stand_in.device import IMAGES_PER_S, sleep_until
from pipeline import storage
from pipeline.dataset.footer import encode_footer
from pipeline.dataset.schema import QUARANTINE
from pipeline.images.makers import pixel_makers
from pipeline.records import ImageBatch, Shard
from pipeline.sources import SourceSpec
from pipeline.stats import Stats

#: One decoder is a quarter faster than one device, so that devices set the pace.
_IMAGES_PER_S = 1.25 * IMAGES_PER_S
#: What a real decoder finds in an image, here always the same.
_FOUND: dict[str, object] = {
    "image_sha256": "0" * 64,
    "image_phash": 0,
    "image_pixels_xxh128": "0" * 32,
    "image_width": 640,
    "image_height": 480,
    "image_blank_rows": 0.0,
    "image_bytes": 100_000,
}


class StandInDecoder:
    """See `actors.decoder.Decoder`; like there, one of two calls in flight decodes."""

    def __init__(self, source: SourceSpec, limits: object, image_size: int, columns: pa.Schema, *_: object) -> None:
        self._schema = columns
        self._image_size = image_size
        self._decoding = threading.Lock()
        self._due_s = 0.0
        self._rows = lru_cache(maxsize=4)(self._read)

    def setup(self) -> None:
        """Make the pixels."""
        self._footer = encode_footer(pixel_makers())
        self._pixels = np.zeros((1024, self._image_size, self._image_size, 3), dtype=np.uint8)
        self._none = QUARANTINE.empty_table()

    def decode(self, shard: Shard, start: int, stop: int) -> tuple[ImageBatch, Stats]:
        """See `Decoder`."""
        rows = self._rows(shard).slice(start, stop - start)
        with self._decoding:
            began_s = time.monotonic()
            self._due_s = max(self._due_s, began_s) + rows.num_rows / _IMAGES_PER_S
            sleep_until(self._due_s)
            took_s = time.monotonic() - began_s
        return ImageBatch(rows, self._pixels[: rows.num_rows], self._none), Stats(decode_s=took_s)

    def _read(self, shard: Shard) -> pa.Table:
        with storage.open_seekable(shard.records_uri) as source:
            planned = pq.ParquetFile(source).read_row_group(shard.row_group)
        columns: list[Any] = [self._column(planned, field) for field in self._schema]
        return pa.table(columns, schema=self._schema.with_metadata(self._footer))

    @staticmethod
    def _column(planned: pa.Table, field: pa.Field) -> Any:
        if field.name not in _FOUND:
            return planned[field.name]
        return pa.repeat(pa.scalar(_FOUND[field.name], field.type), planned.num_rows)
