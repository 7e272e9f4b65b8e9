"""Actor that reads and decodes: rows of a shard in, an `ImageBatch` out.

Ray runs two calls of an actor at once, so that one reads while the other decodes. A lock limits decoding to one core,
which is what the actor asks the cluster for. Pixels stay uint8, because float32 would move four times the bytes; the
model normalises them.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from actors.machine.allocator import keep_freed_memory
from pipeline.config import ImageConfig
from pipeline.credentials.headers import HeaderVariables
from pipeline.dataset.footer import encode_footer
from pipeline.dataset.plan_files import read_records
from pipeline.dataset.schema import QUARANTINE, quarantine_row
from pipeline.errors import HanclipError, ImageError, UnavailableError
from pipeline.images.decode import DecodedImage, decode
from pipeline.images.makers import pixel_makers, require_same_pixels
from pipeline.images.measures.signals import measure
from pipeline.records import Failure, ImageBatch, RawRecord, Record, Shard
from pipeline.sources import SourceSpec, is_read, reader
from pipeline.sources.extra import gather
from pipeline.sources.failures import NO_ANSWER, read_failure, unexpected
from pipeline.sources.texts import is_blank, is_whole
from pipeline.stats import Stats
from pipeline.vocabulary import NOT_USED, Reason, Signal, Stage

_DECODED = "image"  # of a row on its way, and no column of the dataset


class Decoder:
    """Reads and decodes chunks.

    Args:
        source: the planned source, from which a reader is made.
        limits: limits on images.
        image_size: N of the (B, N, N, 3) pixels.
        columns: what to find in a record, see `OwnColumns.decoded`.
        variables: environment variables of the driver that the source's headers need.
        driver: what makes pixels on the driver's machine, for a comparison; from `pixel_makers`.
    """

    def __init__(
        self,
        source: SourceSpec,
        limits: ImageConfig,
        image_size: int,
        columns: pa.Schema,
        variables: HeaderVariables | None = None,
        driver: Mapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self._limits = limits
        self._image_size = image_size
        self._variables = variables or HeaderVariables()
        self._driver = driver
        self._makers = pixel_makers() if source.has_images else dict.fromkeys(pixel_makers(), NOT_USED)
        self._own = columns
        self._signals = [signal for signal in Signal if signal.column in columns.names]
        self._decoding = threading.Lock()
        self._records = lru_cache(maxsize=4)(read_records)

    def setup(self) -> None:
        """Open the source.

        Raises:
            RunError: this machine would make other pixels than the driver's.
        """
        if self._driver and self._source.has_images:
            require_same_pixels(self._driver, self._makers)
        keep_freed_memory()
        self._variables.install()
        self._reader = reader(self._source)

    def decode(self, shard: Shard, start: int, stop: int) -> tuple[ImageBatch, Stats]:
        """Read and decode rows `start` to `stop` of `shard`; failed records go to the batch's quarantine.

        Raises:
            UnavailableError: the store is down.
        """
        began = time.perf_counter()
        raw = self._read(shard, start, stop)
        read_s = time.perf_counter() - began
        with self._decoding:
            began = time.perf_counter()
            batch = self._batch(raw, shard.attempts + 1)
            decode_s = time.perf_counter() - began
        reasons = Counter(batch.quarantine["reason"].to_pylist())
        n_bytes = sum(len(r.image) for r in raw if r.image is not None)
        return batch, Stats(quarantined=reasons, bytes_read=n_bytes, read_s=read_s, decode_s=decode_s)

    def _read(self, shard: Shard, start: int, stop: int) -> list[RawRecord]:
        """Read the rows. If all are unavailable, reading a neighbour shows whether the store is down."""
        records = self._records(shard)
        try:
            return self._read_each(records[start:stop])
        except UnavailableError as error:
            # Records of a retry are known to fail, so that all of them fail is no sign that the store is down.
            others = [record for record in (*reversed(records[:start]), *records[stop:]) if is_read(record)]
            if not shard.attempts and not self._answers(others[:1]):
                raise
            return [RawRecord(record, failure=read_failure(error)) for record in records[start:stop]]

    def _read_each(self, records: Sequence[Record]) -> list[RawRecord]:
        """Read records; one that the reader cannot deal with fails at once, and alone."""
        try:
            return self._reader.read(records)
        except (HanclipError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - deterministic, so that another attempt cannot help
            if len(records) == 1:
                return [RawRecord(records[0], failure=unexpected(error, Stage.READ))]
        return [raw for record in records for raw in self._read_each([record])]

    def _answers(self, neighbour: Sequence[Record]) -> bool:
        """Whether the store answers for this record, even if only that it does not exist."""
        try:
            answers = self._reader.read(neighbour)
        except UnavailableError:
            return False
        return any(one.failure is None or one.failure.reason not in NO_ANSWER for one in answers)

    def _batch(self, raw: Sequence[RawRecord], attempts: int) -> ImageBatch:
        rows: list[dict[str, Any]] = []
        good: list[RawRecord] = []
        failed: list[dict[str, Any]] = []
        pixels = self._empty_pixels(len(raw))
        for one in raw:
            failure = one.failure or self._text_failure(one)
            if failure is None:
                row = self._row(one, None if pixels is None else pixels[len(rows)])
                if isinstance(row, Failure):
                    failure = row
                else:
                    rows.append(row)
                    good.append(one)
            if failure is not None:
                origin = one.record
                failed.append(quarantine_row(origin.id, origin.image_uri, origin.source_fingerprint, failure, attempts))
        images = _describe(rows, good)
        if pixels is not None:
            for signal, values in measure(pixels[: len(rows)], self._signals).items():
                for row, value in zip(rows, values, strict=True):
                    row[signal.column] = value
        return ImageBatch(
            rows=self._table(rows, [one.extra for one in good]),
            pixels=None if pixels is None else pixels[: len(rows)],
            quarantine=pa.Table.from_pylist(failed, schema=QUARANTINE),
            truncated=sum(image.is_truncated for image in images),
        )

    def _table(self, rows: Sequence[Mapping[str, Any]], extra: Sequence[Mapping[str, Any]]) -> pa.Table:
        own, carried = pa.Table.from_pylist(rows, schema=self._own), gather(extra, self._source.extra)
        schema = pa.schema([*own.schema, *carried.schema], metadata=encode_footer(self._makers))
        return pa.table([*own.columns, *carried.columns], schema=schema)

    def _empty_pixels(self, n: int) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
        if not self._source.has_images:
            return None
        return np.empty((n, self._image_size, self._image_size, 3), dtype=np.uint8)

    def _text_failure(self, one: RawRecord) -> Failure | None:
        """A record with an image may lack a text; a text that says nothing, or neither, is a failure."""
        if one.text is None and self._source.has_images:
            return None
        if one.text is None or is_blank(one.text):
            return Failure(Stage.TEXT, Reason.EMPTY_TEXT, "the text is empty, or no character of it can be seen")
        if len(one.text) > (limit := self._source.config.max_text_chars):
            found = f"the text has {len(one.text):,} characters, more than {limit:,}"
            return Failure(Stage.TEXT, Reason.TOO_LARGE, f"{found}: shorten it, or raise --max-text-chars")
        if not is_whole(one.text):
            return Failure(
                Stage.TEXT, Reason.BAD_TEXT, "the text holds half of a surrogate pair, as of an emoji cut in two"
            )
        return None

    def _row(self, one: RawRecord, pixels: Any) -> dict[str, Any] | Failure:
        """The columns of a good record, with its pixels written into `pixels`; or why it failed."""
        row: dict[str, Any] = {
            "id": one.record.id,
            "source_fingerprint": one.record.source_fingerprint,
            "text": one.text,
        }
        if one.image is None:
            return row
        try:
            image = decode(one.image, self._image_size, self._limits.max_pixels, self._limits.accept_truncated)
        except ImageError as error:
            return Failure(Stage.DECODE, error.reason, error.detail)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - deterministic, so that another attempt cannot help
            return unexpected(error, Stage.DECODE)
        pixels[...] = image.pixels
        row[_DECODED] = replace(image, pixels=pixels)
        return row


def _describe(rows: Sequence[dict[str, Any]], good: Sequence[RawRecord]) -> list[DecodedImage]:
    """Add the columns of images to their rows; returns the images.

    All of a chunk's images are decoded before: between two decodings, the code of the hashes would have left the
    processor's caches each time, which cost a decoder 6 % of its time.
    """
    images = []
    for row, one in zip(rows, good, strict=True):
        image: DecodedImage | None = row.get(_DECODED)
        if image is not None and one.image is not None:
            row["image_uri"] = one.record.image_uri
            row["image_sha256"] = hashlib.sha256(one.image).hexdigest()
            row["image_phash"] = image.phash()
            row["image_pixels_xxh128"] = image.pixels_xxh128()
            row["image_width"], row["image_height"] = image.width, image.height
            row["image_blank_rows"] = image.blank_rows()
            row["image_bytes"] = len(one.image)
            images.append(image)
    return images
