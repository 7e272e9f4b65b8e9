"""Opens an output dataset and commits shards to it: one Parquet file per shard, whole or not at all.

The embeddings file is the commit. It is created with a create-only write, so one of two writers wins, and the folder's
listing is the source of truth. The quarantine file is written first and counts only once an embeddings file names its
attempt, so a writer that dies or loses leaves nothing that a reader would count.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.dataset as pads

from pipeline import storage
from pipeline.dataset import layout, schema
from pipeline.dataset.compacted.committed import Committed, is_replaced, list_committed
from pipeline.dataset.identity import Identity, check_same
from pipeline.dataset.keys.advance import advance
from pipeline.dataset.keys.index import read_facts
from pipeline.dataset.layout import EMBEDDINGS, QUARANTINE, DataFile
from pipeline.dataset.scan import choose, scan
from pipeline.dataset.shard_file import Footer, ShardProvenance, encode, footer_entries, read_footer
from pipeline.errors import (
    AlreadyExistsError,
    CommittedError,
    IdentityError,
    NotFoundError,
    RunError,
    StorageError,
    UnavailableError,
)
from pipeline.storage import DEFAULT_POLICY, ReadPolicy

#: In place of the id of a run that committed a shard, when its file is gone.
COMPACTED = "compacted"


class _UnknownCommitError(UnavailableError):
    """A shard's file exists and cannot be read: for now, or because it is damaged."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset at `uri` with a known identity. Holds no connection, so it can be pickled and sent to an actor.

    Attributes:
        uri: its folder.
        identity: model, preprocessing and columns.
        policy: timeouts and retries of commits.
    """

    uri: str
    identity: Identity
    policy: ReadPolicy = DEFAULT_POLICY

    @classmethod
    def open(cls, uri: str) -> Dataset:
        """Open an existing dataset. Raises IdentityError when there is none, or it is damaged or of a newer format."""
        found = cls.find(uri)
        if found is None:
            near = layout.did_you_mean_dataset(uri)
            raise IdentityError(f"There is no dataset at {uri} ({layout.IDENTITY} is missing). {near}Check OUT.")
        return found

    @classmethod
    def find(cls, uri: str) -> Dataset | None:
        """Open the dataset at `uri`, or return None when there is none."""
        uri = storage.normalise(uri)
        name = storage.join(uri, layout.IDENTITY)
        try:
            identity = Identity.from_json(storage.read_bytes(name), name)
        except NotFoundError:
            return None
        return cls(uri, identity if identity.model_parts is not None else _with_recorded_model(uri, identity))

    @classmethod
    def open_or_create(cls, uri: str, identity: Identity) -> Dataset:
        """Open the dataset at `uri`, or create it; when several create it at once, the first one's `shard_rows` holds.

        Raises:
            IdentityError: the dataset there has another identity, or the folder holds embeddings without one.
        """
        dataset = cls.find(uri) or cls._create(storage.normalise(uri), identity)
        check_same(dataset.identity, identity, dataset.uri)
        return dataset.recording(identity)

    def recording(self, identity: Identity) -> Dataset:
        """The same dataset, which from now on records the model's parts; `identity` agrees with its own.

        Raises:
            IdentityError: another run recorded other parts just now.
        """
        recorded = identity.recorded_model()
        if self.identity.model_parts is not None or recorded is None:
            return self
        with suppress(AlreadyExistsError):  # by another run, whose parts count
            storage.create(storage.join(self.uri, layout.MODEL), json.dumps(recorded, indent=2).encode())
        found = replace(self, identity=_with_recorded_model(self.uri, self.identity))
        check_same(found.identity, identity, self.uri)
        return found

    @classmethod
    def _create(cls, uri: str, identity: Identity) -> Dataset:
        if next(iter(layout.objects(uri, EMBEDDINGS)), None):
            raise IdentityError(
                f"{uri} holds {EMBEDDINGS}/ but no {layout.IDENTITY}: restore that file, or choose another OUT."
            )
        try:
            storage.create(storage.join(uri, layout.IDENTITY), identity.to_json().encode())
        except AlreadyExistsError:
            return cls.open(uri)
        return cls(uri, identity)

    def write_shard(
        self, shard_id: str, run_date: str, table: pa.Table, quarantine: pa.Table, provenance: ShardProvenance
    ) -> int:
        """Commit one shard; returns the bytes written.

        Args:
            shard_id: the planned id.
            run_date: the date that it was planned with, YYYY-MM-DD.
            table: rows of the identity's schema, vectors in float32; any column order.
            quarantine: rows of `schema.QUARANTINE`.
            provenance: what the footer holds besides the identity.

        Raises:
            RunError: rows are missing, or the columns are not the dataset's; or it is unknown who committed the shard,
                because a file of its name exists and cannot be read.
            CommittedError: another writer committed the shard first; nothing of this call remains.
        """
        rows = (table.num_rows, quarantine.num_rows)
        _check_rows(shard_id, rows, provenance)
        if is_replaced(self.uri, shard_id, recent=True):
            raise CommittedError(f"A compaction replaced shard {shard_id} after its commit.", self.uri, COMPACTED)
        attempt = secrets.token_hex(4)
        aside = layout.quarantine_uri(self.uri, run_date, shard_id, attempt)
        footer = footer_entries(self.identity, provenance, shard_id, attempt, rows)
        data = encode(_conform(table, self.identity.schema, shard_id), footer)
        written = len(data)
        if quarantine.num_rows:
            failed = encode(_conform(quarantine, schema.QUARANTINE, shard_id), {})
            storage.overwrite(aside, failed, self.policy)
            written += len(failed)
        winner = self._create_shard(layout.embeddings_uri(self.uri, run_date, shard_id), data)
        if winner and winner.attempt != attempt:
            if quarantine.num_rows:
                storage.delete(aside, self.policy)
            raise CommittedError(f"{winner.run_id} committed the shard first: nothing to do.", self.uri, winner.run_id)
        return written

    def _create_shard(self, uri: str, data: bytes) -> Footer | None:
        """Create a shard's file; the footer of the file that took its name before, if one did.

        That may be this very call, if its request was repeated on the way to the store.
        """

        def attempt() -> Footer | None:
            try:
                storage.create(uri, data, self.policy)
            except AlreadyExistsError:
                return self._footer(uri)
            return None

        try:
            return storage.with_retries(attempt, self.policy)
        except _UnknownCommitError as error:
            raise RunError(str(error)) from error

    def _footer(self, uri: str) -> Footer:
        """The footer of the file at `uri`. Raises _UnknownCommitError when it cannot be read, for a retry."""
        try:
            return read_footer(DataFile(uri, "", "", "", storage.stat(uri, self.policy).size_bytes))
        except (StorageError, RunError) as error:
            raise _UnknownCommitError(
                f"{uri} exists already, and it is unknown which run committed it. {error}", uri
            ) from error

    def committed(self) -> Committed:
        """The committed shards: files that count, and the names of those that a compaction replaced."""
        return list_committed(self.uri)

    def files(self) -> list[DataFile]:
        """Embeddings files of the committed shards, each shard once, sorted by date."""
        return self.committed().files

    def quarantine_files(self, files: Iterable[DataFile] | None = None) -> list[DataFile]:
        """Quarantine files that committed shards name, without those of failed or beaten attempts.

        Args:
            files: embeddings files from `files`, so that both lists show the same state of the dataset.
        """
        embeddings = {(file.run_date, file.shard_id): file for file in (self.files() if files is None else files)}
        found = layout.data_files(self.uri, QUARANTINE)
        candidates = [file for file in found if (file.run_date, file.shard_id) in embeddings]
        named = {embeddings[file.run_date, file.shard_id] for file in candidates}
        attempts = {(facts.shard_id, facts.attempt) for facts in read_facts(self.uri, named)}
        return [file for file in candidates if (file.shard_id, file.attempt) in attempts]

    def index_keys(self) -> None:
        """Bring the index of keys up to date. Raises StorageError, RunError; readers need no index."""
        files = self.files()
        advance(self.uri, files, self.quarantine_files(files))

    def embeddings(self, columns: Sequence[str] | None = None) -> pads.Dataset:
        """The committed rows as an Arrow dataset, with `run_date`; `columns` limits the others."""
        return scan(self.files(), choose(self.identity.schema, columns))

    def quarantine(self, columns: Sequence[str] | None = None) -> pads.Dataset:
        """The quarantined rows of committed shards as an Arrow dataset, with `run_date`."""
        return scan(self.quarantine_files(), choose(schema.QUARANTINE, columns))


def _with_recorded_model(uri: str, identity: Identity) -> Identity:
    """The identity with the model's parts that a later run recorded, if one did. Raises IdentityError."""
    name = storage.join(uri, layout.MODEL)
    try:
        tree = json.loads(storage.read_bytes(name))
        return replace(identity, model_sha256=str(tree["model_sha256"]), model_parts=dict(tree["model_parts"]))
    except NotFoundError:
        return identity
    except (ValueError, KeyError, TypeError) as error:
        raise IdentityError(f"{name} is damaged ({error!r}): restore it from a copy.") from error


def _check_rows(shard_id: str, rows: tuple[int, int], provenance: ShardProvenance) -> None:
    if sum(rows) != provenance.rows_planned:
        raise RunError(
            f"Shard {shard_id}: {rows[0]} embedded + {rows[1]} quarantined are not the {provenance.rows_planned} "
            "records planned. Nothing was written; run the same command again, and report this if it persists."
        )


def _conform(table: pa.Table, wanted: pa.Schema, shard_id: str) -> pa.Table:
    """`table` with the columns, order and types of `wanted`; rounds vectors if float16 is stored."""
    missing = set(wanted.names) ^ set(table.column_names)
    if missing:
        raise RunError(f"Shard {shard_id}: columns {sorted(missing)} are not as planned. Run the same command again.")
    try:
        return schema.conform(table, wanted)
    except pa.ArrowException as error:
        raise RunError(
            f"Shard {shard_id}: {error}. The source's column types changed: run the same command again."
        ) from error
