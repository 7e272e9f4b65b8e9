"""What a plan makes a store and a cluster do: requests, bytes, and hours of cores and GPUs.

In: the plan, and what earlier runs of the dataset measured. Out: amounts; None for what cannot be known beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from pipeline import storage
from pipeline.plan.draft import Plan

_KEYS_PER_LIST = 1000
#: Listings of OUT: the log of plans, the embeddings, the quarantine.
_LISTS_OF_OUT = 3
#: A run's own files: plan, configuration, records, entry of the log, summary.
_FILES_OF_A_RUN = 5
_VECTOR_BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True, slots=True)
class Rates:
    """What a record costs, and where the figures are from.

    Attributes:
        core_s: seconds of a CPU core; None if unknown.
        gpu_s: seconds of a GPU; None if unknown.
        written_bytes: bytes of a record in OUT; None if unknown.
        basis: where the figures are from.
    """

    core_s: float | None
    gpu_s: float | None
    written_bytes: float | None
    basis: str


@dataclass(frozen=True, slots=True)
class Work:
    """Amounts of a run. Requests count in object stores alone, without those that are repeated.

    Attributes:
        gets: None for tars and tables, which are read in parts.
        lists: pages of listings.
        puts: objects written, about.
        read_bytes: bytes of the source; None if it does not list sizes.
        written_bytes: bytes of embeddings, about.
        core_hours: of decoders and writers, and of embedders without a GPU; None if unknown.
        gpu_hours: of embedders; None if unknown.
        basis: where hours and written bytes are from.
    """

    gets: int | None
    lists: int
    puts: int
    read_bytes: int | None
    written_bytes: int
    core_hours: float | None
    gpu_hours: float | None
    basis: str


def work_of(plan: Plan, rates: Rates) -> Work:
    """What carrying out `plan` takes, the listing that made it included."""
    per_record = _vector_bytes(plan) if rates.written_bytes is None else rates.written_bytes
    return Work(
        gets=_gets(plan),
        lists=_lists(plan),
        puts=len(plan.shards) + _FILES_OF_A_RUN if plan.rows and storage.is_bucket(plan.dataset.uri) else 0,
        read_bytes=plan.size_bytes or (None if plan.rows else 0),
        written_bytes=round(plan.rows * per_record),
        core_hours=_hours(plan.rows, rates.core_s),
        gpu_hours=_hours(plan.rows, rates.gpu_s),
        basis=rates.basis,
    )


def _hours(rows: int, seconds_each: float | None) -> float | None:
    return 0.0 if not rows else None if seconds_each is None else rows * seconds_each / 3600


def _vector_bytes(plan: Plan) -> int:
    """Bytes of a record's vectors, nearly all of a row."""
    identity = plan.dataset.identity
    vectors = identity.has_images + identity.has_texts
    return vectors * identity.dim * _VECTOR_BYTES[identity.embedding_dtype]


def _in_buckets(plan: Plan) -> bool:
    return any(map(storage.is_bucket, plan.source.config.uris))


def _gets(plan: Plan) -> int | None:
    """One for each image and each text of a folder."""
    if not plan.rows or not _in_buckets(plan):
        return 0
    source = plan.source
    if source.kind != "folder":
        return None
    texts = (source.texts or 0) / max(source.records, 1)
    return round(plan.rows * (source.has_images + texts if source.has_images else 1))


def _lists(plan: Plan) -> int:
    source = plan.source
    listed = source.records + (source.texts or 0) + sum(one.count for one in source.skipped)
    pages = max(1, ceil(listed / _KEYS_PER_LIST)) if source.kind == "folder" else 1
    own = _LISTS_OF_OUT if storage.is_bucket(plan.dataset.uri) else 0
    return own + (pages if _in_buckets(plan) else 0)
