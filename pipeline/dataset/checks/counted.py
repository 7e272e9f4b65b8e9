"""Stores what was counted in a dataset, so that the next count reads only what came since.

In: a `Counted`. Out: `OUT/_held.parquet`, and the same back. The file is a cache: a count that is missing, damaged, of
another format or of other files is not used.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.dataset.footer import decode_footer, encode_footer
from pipeline.dataset.scan import choose
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import StorageError

logger = logging.getLogger(__name__)

_FORMAT = 2
#: A record in quarantine: its latest reason, and the newest run that listed it in this state.
HELD = choose(QUARANTINE, ["id", "source_fingerprint", "reason", "attempts"]).append(pa.field("run", pa.string()))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A counted run with shards that are not committed yet; its plan is read again once one of them is.

    Attributes:
        plan: fingerprint of the plan's file.
        shards: ids of the shards that it cut and that are not committed.
    """

    plan: str
    shards: frozenset[str]


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted.

    Attributes:
        closed: runs whose own shards are all committed and counted.
        waiting: the other counted runs.
        files: digest of the files that were counted, see `digest_of`.
        plans: digest of the plans of closed runs.
        rows, failed: rows of the counted shards, and how many of these are in quarantine files.
        held: rows of `HELD`.
    """

    closed: frozenset[str] = frozenset()
    waiting: Mapping[str, Waiting] = field(default_factory=dict)
    files: str = ""
    plans: str = ""
    rows: int = 0
    failed: int = 0
    held: pa.Table = field(default_factory=HELD.empty_table)


def digest_of(versions: Iterable[str]) -> str:
    """A digest of a set of file versions, in any order."""
    total, count = 0, 0
    for version in versions:
        total += int.from_bytes(hashlib.blake2b(version.encode(), digest_size=16).digest())
        count += 1
    return f"{count} {total % 2**128:032x}"


def read_counted(out: str) -> Counted | None:
    """The previous count; None if there is none, or it cannot be used."""
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(storage.join(out, layout.HELD))))
        facts: dict[str, Any] = json.loads(decode_footer(table.schema.metadata)["counted"])
        if facts.pop("format") != _FORMAT:
            return None
        closed = frozenset(facts.pop("closed"))
        waiting = {run: Waiting(plan, frozenset(shards)) for run, (plan, shards) in facts.pop("waiting").items()}
        return Counted(closed, waiting, held=table.cast(HELD), **facts)
    except (StorageError, pa.ArrowException, LookupError, TypeError, ValueError, AttributeError) as error:
        logger.debug("The quarantine of %s is counted from scratch: %s", out, error)
        return None


def store_counted(out: str, counted: Counted) -> None:
    """Replace the stored count. Raises StorageError."""
    facts = {
        "format": _FORMAT,
        "closed": sorted(counted.closed),
        "waiting": {run: [of.plan, sorted(of.shards)] for run, of in counted.waiting.items()},
        "files": counted.files,
        "plans": counted.plans,
        "rows": counted.rows,
        "failed": counted.failed,
    }
    sink = pa.BufferOutputStream()
    table = counted.held.replace_schema_metadata(encode_footer({"counted": json.dumps(facts)}))
    pq.write_table(table, sink, compression="zstd")
    storage.overwrite(storage.join(out, layout.HELD), sink.getvalue().to_pybytes())
