"""Actor that runs the model, on a GPU or CPU: `ImageBatch` in, `EmbeddingBatch` out.

It holds only the model, so that it can serve several runs; the columns to pass through come with each batch. Each
distinct text of a batch is encoded once. The similarity is computed in float32 from the float32 unit vectors, before
any rounding for storage.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.machine.allocator import collection_paused, keep_freed_memory
from actors.machine.idle_threads import let_idle_threads_sleep
from actors.machine.limits import usable_cpus
from pipeline.config import ModelConfig
from pipeline.dataset.footer import decode_footer, encode_footer
from pipeline.dataset.schema import QUARANTINE, quarantine_row
from pipeline.errors import DeviceLostError, ModelError
from pipeline.model.checkpoints import resolve
from pipeline.records import EmbeddingBatch, Failure, ImageBatch
from pipeline.stats import BusyClock, Stats
from pipeline.vocabulary import Reason, Stage

if TYPE_CHECKING:
    from pipeline.model.chinese_clip import ChineseClip

_TEXT_TOO_LONG = Failure(
    Stage.TEXT,
    Reason.TEXT_TOO_LONG,
    "the text has more tokens than the model takes: shorten it, or change --text-overflow",
)
#: So many records without a single finite vector are no accident of a record.
_MODEL_FAILS_ROWS = 8
_NOT_FINITE = Failure(Stage.EMBED, Reason.NOT_FINITE, "the model gave a vector with NaN or infinity; try --dtype fp32")


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of B rows, whose distinct ones were submitted.

    Attributes:
        encoded: waits for the vectors of the distinct texts; None: there are none.
        places: (B,) which of them a row has; any for rows without a text.
        present: (B,) whether a row has a text.
        too_long, unknown: (B,) whether it has more tokens than the model takes, and whether all of them are [UNK].
        distinct: number of distinct texts.
    """

    encoded: Callable[[], npt.NDArray[np.float32]] | None
    places: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    too_long: npt.NDArray[np.bool_]
    unknown: npt.NDArray[np.bool_]
    distinct: int

    def only(self, rows: npt.NDArray[np.bool_]) -> _Texts:
        present, too_long, unknown = self.present[rows], self.too_long[rows], self.unknown[rows]
        return _Texts(self.encoded, self.places[rows], present, too_long, unknown, self.distinct)

    def vectors(self, dim: int) -> npt.NDArray[np.float32]:
        """(B, D) float32; of any text for rows without one."""
        if self.encoded is None:
            return np.zeros((len(self.places), dim), dtype=np.float32)
        return self.encoded()[self.places]

    def counted(self) -> Stats:
        return Stats(
            texts=int(self.present.sum()),
            texts_too_long=int(self.too_long.sum()),
            texts_unknown=int(self.unknown.sum()),
        )


class Embedder:
    """Runs the model.

    Args:
        model: the model's configuration, pinned to a digest, so that all actors use the same model.
        threads: CPU threads for the forward pass; no more than there are cores on the actor's node.
        device: "cpu" for an actor without a GPU of its own, though it may see some; None: the GPU if there is one.
    """

    def __init__(self, model: ModelConfig, threads: int, device: str | None) -> None:
        self._model_config = model
        self._threads = threads
        self._device = device
        self._busy = BusyClock()

    def setup(self) -> dict[str, str]:
        """Load the model; returns metadata for the footers: `compute_dtype`, `logit_scale` and what computes."""
        keep_freed_memory()
        let_idle_threads_sleep()
        with collection_paused():
            self._clip = self._load()
        self._metadata = {
            "compute_dtype": str(self._clip.dtype).removeprefix("torch."),
            "logit_scale": repr(self._clip.logit_scale),
            **self._clip.makers,
        }
        return self._metadata

    def _load(self) -> ChineseClip:
        # torch, which `setup` prepares for
        from pipeline.model.chinese_clip import ChineseClip, Tuning
        from pipeline.model.hardware import set_threads

        # Nodes differ: with more threads than cores, those of a pass would wait for each other.
        set_threads(max(1, min(self._threads, int(usable_cpus()))))
        config = self._model_config
        tuning = Tuning(measure=True, compile=config.compile, exact=config.exact)
        return ChineseClip.load(
            resolve(config), config.dtype, self._device, config.batch_size, tuning, config.text_overflow
        )

    def embed(self, batch: ImageBatch, attempts: int) -> tuple[EmbeddingBatch, Stats]:
        """Embed a batch. Records whose vectors are not finite go to quarantine with `attempts`.

        Several calls may run at once: while the device computes for one, others tokenize and make tables.

        Raises:
            ModelError: no vector of a batch of some size is finite, which is the model's fault and not the records'.
        """
        self._busy.begin()
        try:
            embedded, stats = self._embedded(batch, attempts)
        except DeviceLostError as error:
            # Every later call would fail as well. The scheduler replaces an actor that died.
            sys.stderr.write(f"The embedder ends: {error}\n")
            sys.stderr.flush()
            os._exit(1)
        finally:
            seconds = self._busy.end()
        return embedded, stats + Stats(embed_s=seconds)

    def _embedded(self, batch: ImageBatch, attempts: int) -> tuple[EmbeddingBatch, Stats]:
        rows, pixels = batch.rows, batch.pixels
        texts = self._begin_texts(rows) if "text" in rows.column_names else None
        counts = Stats(images_truncated=batch.truncated) + (Stats() if texts is None else texts.counted())
        failed = rows.slice(0, 0)
        if self._model_config.text_overflow == "quarantine" and counts.texts_too_long and texts is not None:
            failed, fits = _where(rows, texts.too_long), ~texts.too_long
            rows, pixels, texts = (
                _where(rows, fits),
                None if pixels is None else pixels[fits],
                texts.only(fits),
            )
        images = None if pixels is None else self._clip.begin_images(pixels)
        table, bad = self._assemble(rows, None if images is None else images(), texts)
        self._require_some_finite(table, bad)
        long_texts = _quarantined(failed, _TEXT_TOO_LONG, attempts)
        not_finite = _quarantined(bad, _NOT_FINITE, attempts)
        quarantine = pa.concat_tables([batch.quarantine, long_texts, not_finite])
        stats = Stats(
            embedded=table.num_rows,
            quarantined=Counter((*long_texts["reason"].to_pylist(), *not_finite["reason"].to_pylist())),
            texts_encoded=0 if texts is None else texts.distinct,
        )
        return EmbeddingBatch(table, quarantine, counts), stats

    def _require_some_finite(self, table: pa.Table, bad: pa.Table) -> None:
        if table.num_rows or bad.num_rows < _MODEL_FAILS_ROWS:
            return
        arithmetic = self._metadata["compute_dtype"]
        cure = (
            "check its weights" if arithmetic == "float32" else "try --dtype fp32, and if that fails check its weights"
        )
        raise ModelError(
            f"The model {self._model_config.name} gave no finite vector for any of {bad.num_rows} records in "
            f"{arithmetic}. The fault is in the model, not in the records: {cure}. None of them was quarantined."
        )

    def _begin_texts(self, rows: pa.Table) -> _Texts:
        texts = rows["text"].to_pylist()
        place = {text: i for i, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
        present = np.array([text is not None for text in texts], dtype=bool)
        places = np.array([place.get(text, 0) for text in texts], dtype=np.int64)
        if not place:
            return _Texts(None, places, present, present, present, 0)
        begun = self._clip.begin_texts(list(place))
        too_long, unknown = begun.too_long[places] & present, begun.unknown[places] & present
        return _Texts(begun.vectors, places, present, too_long, unknown, len(place))

    def _assemble(
        self, rows: pa.Table, images: npt.NDArray[np.float32] | None, texts: _Texts | None
    ) -> tuple[pa.Table, pa.Table]:
        """The output table, and the rows that are left out because a vector is not finite."""
        columns: dict[str, Any] = {name: rows[name] for name in rows.column_names}
        finite = np.ones(rows.num_rows, dtype=bool)
        if images is not None:
            columns["image_embedding"] = _vector_column(images)
            finite &= np.isfinite(images).all(axis=1)
        if texts is not None:
            vectors, present = texts.vectors(self._clip.dim), texts.present
            columns["text_embedding"] = _vector_column(vectors, present)
            finite &= np.isfinite(vectors).all(axis=1) | ~present
            if images is not None:
                similarity = np.einsum("bd,bd->b", images, vectors, dtype=np.float32)
                columns["similarity"] = pa.array(similarity, mask=~present)
        table = pa.table(columns, metadata=encode_footer(self._metadata | decode_footer(rows.schema.metadata)))
        return (table, rows.slice(0, 0)) if finite.all() else (_where(table, finite), _where(rows, ~finite))


def _where(rows: pa.Table, wanted: npt.NDArray[np.bool_]) -> pa.Table:
    """Some of the rows. Arrow's own filter lacks some types, such as string views."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]])))
    parts = [rows.slice(start, stop - start) for start, stop in edges.reshape(-1, 2)]
    return pa.concat_tables(parts) if parts else rows.slice(0, 0)


def _quarantined(rows: pa.Table, failure: Failure, attempts: int) -> pa.Table:
    """The rows of `schema.QUARANTINE` for `rows`, which have no `image_uri` where the source has no images."""
    names = [name for name in ("id", "image_uri", "source_fingerprint") if name in rows.column_names]
    failed = [
        quarantine_row(row["id"], row.get("image_uri"), row["source_fingerprint"], failure, attempts)
        for row in rows.select(names).to_pylist()
    ]
    return pa.Table.from_pylist(failed, schema=QUARANTINE)


def _vector_column(
    vectors: npt.NDArray[np.float32], present: npt.NDArray[np.bool_] | None = None
) -> pa.FixedSizeListArray:
    """(B, D) float32 as a fixed-size list column without a copy; rows that are not `present` are null."""
    item = pa.field("item", pa.float32(), nullable=False)
    values = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    mask = None if present is None or present.all() else pa.array(~present)
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, vectors.shape[1]), mask=mask)
