"""Remembers which cuts of a source are done although no shard has their name, so that their ids are not read again.

    OUT/_cuts/<source>.parquet    names, and what each of them is; replaced by each full plan of the source

A cut whose records went into packed shards, or partly had outcomes before, is committed under other names. It is done
as long as the shards with its outcomes are there: those it relied on when it was planned, and those of its plan. All of
them are checked at each use, so the file may be old, missing or damaged; then ids are read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.dataset import layout
from pipeline.errors import NotFoundError, StorageError

logger = logging.getLogger(__name__)

#: One row per name; `role` is the attribute of `KnownCuts` that holds it.
CUTS = pa.schema([pa.field("name", pa.binary(16), nullable=False), pa.field("role", pa.string(), nullable=False)])


@dataclass(frozen=True, slots=True)
class KnownCuts:
    """Cuts of one listing that are not committed under their own names; names are shard ids.

    Attributes:
        done: cuts whose records all had outcomes when the plan was made.
        planned: cuts of which the plan's shards hold the rest.
        relied: the committed shards that held those outcomes.
        shards: the plan's shards.
    """

    done: frozenset[str] = frozenset()
    planned: frozenset[str] = frozenset()
    relied: frozenset[str] = frozenset()
    shards: frozenset[str] = frozenset()

    def given(self, committed: frozenset[str]) -> KnownCuts:
        """What follows from these committed shards: all cuts, those that were done, or none. No plan is left open."""
        if not self.relied <= committed:
            return KnownCuts()
        if not self.shards <= committed:
            return KnownCuts(done=self.done, relied=self.relied)
        return KnownCuts(done=self.done | self.planned, relied=self.relied | self.shards)


def read_known(out: str, source: str) -> KnownCuts:
    """What the newest plan of a source (its digest) knew; nothing if there is none, or it cannot be used."""
    uri = layout.cuts_uri(out, source)
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)), page_checksum_verification=True).cast(CUTS)
        return KnownCuts(**{field.name: _names(table, field.name) for field in fields(KnownCuts)})
    except NotFoundError:
        return KnownCuts()
    except (StorageError, pa.ArrowException, OSError, LookupError, ValueError) as error:
        logger.debug("The ids are read, since %s cannot be: %s", uri, error)
        return KnownCuts()


def write_known(out: str, source: str, known: KnownCuts) -> None:
    """Store what a plan knows, for the next plan of its source."""
    names: Mapping[str, list[str]] = {field.name: sorted(getattr(known, field.name)) for field in fields(known)}
    table = pa.table(
        [
            pa.array([bytes.fromhex(name) for role in names.values() for name in role], pa.binary(16)),
            pa.array([role for role, held in names.items() for _ in held], pa.string()),
        ],
        schema=CUTS,
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", use_dictionary=["role"], write_page_checksum=True)
    try:
        storage.overwrite(layout.cuts_uri(out, source), sink.getvalue().to_pybytes())
    except StorageError as error:
        logger.warning("The next run reads the ids of records that this one left out: %s", error)


def _names(table: pa.Table, role: str) -> frozenset[str]:
    return frozenset(name.hex() for name in table.filter(pc.field("role") == role)["name"].to_pylist())
