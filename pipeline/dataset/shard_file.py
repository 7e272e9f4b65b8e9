"""Encodes the Parquet file of a shard, and reads its footer.

Vectors are stored plain: dictionaries and general-purpose compression only make them larger or slower, and
BYTE_STREAM_SPLIT on float16 breaks readers. All other columns are compressed with zstd. Row groups hold about 16 MB.
Pages have checksums, which `verify` checks.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__, storage
from pipeline.dataset.compacted.segments import Segment, decode_segments, encode_segments
from pipeline.dataset.footer import MAKERS, UNKNOWN, decode_footer, encode_footer
from pipeline.dataset.identity import Identity
from pipeline.dataset.layout import DataFile
from pipeline.errors import NotFoundError, RunError
from pipeline.vocabulary import NOT_USED

_FOOTERS_AT_ONCE = 16
#: Footers of usual shards have 3.5 to 9 KB, with ten further columns too.
_TAIL_BYTES = 16 * 2**10
_FOOTER_TEXTS = ("shard_id", "attempt", "run_id", "weights_sha256", "preprocessing")
_FOOTER_COUNTS = ("rows_planned", "rows_embedded", "rows_quarantined")
_ROW_GROUP_BYTES = 16 * 2**20
#: Columns with hardly any repeated values, where a dictionary only costs.
_DISTINCT = frozenset(
    "id image_uri image_sha256 image_phash image_pixels_xxh128 source_fingerprint similarity".split()  # noqa: SIM905
)


@dataclass(frozen=True, slots=True)
class ShardProvenance:
    """How the rows of a shard were made, as far as the identity does not state it.

    Attributes:
        run_id: the run that embedded them.
        rows_planned: records of the shard; embedded + quarantined must give this.
        logit_scale: the model's temperature, so that similarity * logit_scale is the model's logit.
        compute_dtype: arithmetic of the towers: bf16, fp16 or fp32.
        planned_by: the run that listed and cut them; empty if that is `run_id`.
        makers: values of `footer.MAKERS`; those that are absent were not needed.
        segments, quarantine_segments: of a compacted file: from which runs its rows, and those of its quarantine, come.
    """

    run_id: str
    rows_planned: int
    logit_scale: float
    compute_dtype: str
    planned_by: str = ""
    makers: Mapping[str, str] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    quarantine_segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFacts:
    """What an embeddings file's footer states about its rows.

    `planned_by` is the run that listed the records. A compacted file has segments instead; then it is the newest run of
    these.
    """

    shard_id: str
    attempt: str
    planned_by: str
    rows_planned: int
    rows_embedded: int
    rows_quarantined: int
    segments: tuple[Segment, ...] = ()
    quarantine_segments: tuple[Segment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer(ShardFacts):
    """The facts in an embeddings file's footer, and the row count and schema that Parquet itself keeps.

    `run_id` is the run that embedded the rows, maybe a later one than `planned_by`. `makers` has a value for each of
    `footer.MAKERS`.
    """

    run_id: str
    weights_sha256: str
    preprocessing: str
    makers: Mapping[str, str]
    rows: int
    schema: pa.Schema


def footer_entries(
    identity: Identity, provenance: ShardProvenance, shard_id: str, attempt: str, rows: tuple[int, int]
) -> dict[str, str]:
    """Footer metadata of an embeddings file; `rows` are (embedded, quarantined)."""
    facts = {
        "version": __version__,
        "format_version": identity.format_version,
        "model": identity.model,
        "revision": identity.revision or "",
        "weights_sha256": identity.weights_sha256,
        "preprocessing": identity.preprocessing,
        "logit_scale": repr(provenance.logit_scale),
        "compute_dtype": provenance.compute_dtype,
        **{name: provenance.makers.get(name, NOT_USED) for name in MAKERS},
        "run_id": provenance.run_id,
        "planned_by": provenance.planned_by or provenance.run_id,
        "shard_id": shard_id,
        "attempt": attempt,
        "rows_planned": provenance.rows_planned,
        "rows_embedded": rows[0],
        "rows_quarantined": rows[1],
    }
    if provenance.segments or provenance.quarantine_segments:
        facts["segments"] = encode_segments(provenance.segments)
        facts["quarantine_segments"] = encode_segments(provenance.quarantine_segments)
    return encode_footer(facts)


def encode(table: pa.Table, metadata: Mapping[str, str]) -> bytes:
    """The Parquet file of `table` with `metadata` in its footer."""
    sink = pa.BufferOutputStream()
    rows = max(1, _ROW_GROUP_BYTES * max(table.num_rows, 1) // max(table.nbytes, 1))
    with pq.ParquetWriter(sink, table.schema, **_options(table.schema)) as writer:
        writer.write_table(table, row_group_size=rows)
        writer.add_key_value_metadata(dict(metadata))
    return bytes(sink.getvalue())


def read_footers(files: Iterable[DataFile]) -> list[Footer]:
    """Footers of embeddings files, in order, read in parallel. Raises RunError when a file is not one."""
    return storage.in_threads(read_footer, list(files), _FOOTERS_AT_ONCE)


def read_footer(file: DataFile) -> Footer:
    """The footer of one embeddings file, read from its end in one or two requests. Raises RunError, StorageError."""
    try:
        return _parse(_read_tail(file))
    except NotFoundError as error:
        raise gone(file.uri) from error
    except (pa.ArrowException, struct.error, KeyError, ValueError) as error:
        raise RunError(
            f"{file.uri} is damaged or no embeddings file of hanclip ({error}): delete it and run the same command."
        ) from error


def gone(uri: str) -> RunError:
    """The error for a file of a dataset that was listed, and does not exist any more."""
    return RunError(
        f"{uri} is gone: a compaction may have replaced it while this command read it. Run the same command again."
    )


@contextmanager
def opened(uri: str) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file of a dataset. Raises RunError if it is gone or damaged, also while it is read."""
    try:
        with storage.open_seekable(uri) as source:
            yield pq.ParquetFile(source)
    except NotFoundError as error:
        raise gone(uri) from error
    except (pa.ArrowException, KeyError, OSError) as error:
        raise RunError(f"{uri} cannot be read ({error}): audit its dataset with `hanclip verify`.") from error


def _read_tail(file: DataFile) -> pq.ParquetFile:
    length = min(_TAIL_BYTES, file.size_bytes)
    while True:
        tail = storage.read_range(file.uri, file.size_bytes - length, length)
        (footer_bytes,) = struct.unpack("<I", tail[-8:-4])
        if footer_bytes + 8 <= length or length == file.size_bytes:
            return pq.ParquetFile(pa.BufferReader(tail))
        length = min(footer_bytes + 8, file.size_bytes)


def _parse(tail: pq.ParquetFile) -> Footer:
    facts = decode_footer(tail.metadata.metadata)
    values: dict[str, Any] = {name: facts[name] for name in _FOOTER_TEXTS}
    values["makers"] = {name: facts.get(name, UNKNOWN) for name in MAKERS}
    values["planned_by"] = facts.get("planned_by", values["run_id"])
    values.update({name: int(facts[name]) for name in _FOOTER_COUNTS})
    for name in ("segments", "quarantine_segments"):
        values[name] = decode_segments(facts, name)
    return Footer(**values, rows=tail.metadata.num_rows, schema=tail.schema_arrow.remove_metadata())


@lru_cache(maxsize=8)
def _options(schema: pa.Schema) -> dict[str, Any]:
    sink = pa.BufferOutputStream()
    pq.write_metadata(schema, sink)
    leaves = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    paths = [leaves.column(i).path for i in range(len(leaves))]
    vectors = {path for path in paths if path.partition(".")[0] in ("image_embedding", "text_embedding")}
    return {
        "compression": {path: "none" if path in vectors else "zstd" for path in paths},
        "use_dictionary": [p for p in paths if p not in vectors and p not in _DISTINCT],
        "write_page_checksum": True,
        "write_statistics": [path for path in paths if path not in vectors],
    }
