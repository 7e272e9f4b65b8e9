"""Planning a run: list the source, cut it into shards, leave out what is done, store the rest.

    sources.scan -> Listing -> FullCut -> without_done -> RecordFiles, plan.parquet

Streamed all the way: memory is bounded however long the source is. Nothing in the dataset changes by planning, apart
from `_dataset.json` of a new one, the folder of the run and the date that its plan claims.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from pipeline import layout, sources, storage
from pipeline.batch import Shard
from pipeline.config import RunConfig
from pipeline.cutting import target_rows
from pipeline.dataset import Dataset
from pipeline.errors import ConfigError, SourceError
from pipeline.identity import Identity, ModelFacts, check_model, check_same, identify
from pipeline.listing import Listing
from pipeline.plan_files import RecordFiles, claim_run_date, read_records, write_shards
from pipeline.retry_notes import retry_notes
from pipeline.shards import Cut, FullCut, without_done
from pipeline.sources import SourceSpec
from pipeline.vocabulary import Reason
from pipeline.workspace import Workspace

__all__ = ["Plan", "dry_plan", "make_plan", "make_retry_plan", "new_run_id", "read_records", "source_digest"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do.

    Attributes:
        run_id: names the run; ids sort by time.
        run_date: partition that its shards are committed to, YYYY-MM-DD.
        rows_in_source: records listed; for a retry, the records once quarantined for one of its reasons.
        rows_already_done: of these, records with an outcome (for a retry: a later one) before the run.
        rows: records to do: rows_in_source - rows_already_done.
        size_bytes: bytes to read, where known.
        shards: the work.
        uri: the run's folder; empty for a dry plan.
        source: how to read the records.
        dataset: where the shards go.
    """

    run_id: str
    run_date: str
    rows_in_source: int
    rows_already_done: int
    rows: int
    size_bytes: int
    shards: list[Shard]
    uri: str
    source: SourceSpec
    dataset: Dataset


def new_run_id() -> str:
    """A name for a run; names sort by time (UTC, milliseconds), a random end keeps two drivers apart."""
    now = datetime.now(UTC)
    return f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


def make_plan(config: RunConfig, model: ModelFacts, run_id: str, workers: int) -> Plan:
    """Plan a run and store the plan; makes the dataset if there is none.

    Args:
        config: the source and the output.
        model: what the vectors will be made with.
        run_id: from `new_run_id`.
        workers: actors that will share the work; only a new dataset's shard size depends on it.

    Raises:
        SourceError: duplicate ids, no records, or what `sources.scan` refuses.
        IdentityError: the dataset was made by something else.
    """
    storage.check_writable(config.output.uri)
    with Workspace() as work:
        listed = _list(config, model, workers, work)
        dataset = Dataset.open_or_create(config.output.uri, listed.identity)
        return _store(listed, dataset, run_id, "full", work)


def dry_plan(config: RunConfig, model: ModelFacts, workers: int) -> Plan:
    """What `make_plan` would give, with nothing written to the output; raises the same."""
    storage.check_writable(config.output.uri, probe=False)
    with Workspace() as work:
        listed = _list(config, model, workers, work)
        dataset = Dataset.find(config.output.uri)
        if dataset is None:
            dataset = Dataset(storage.normalise(config.output.uri), listed.identity)
        check_same(dataset.identity, listed.identity, dataset.uri)
        shards = _take(without_done(FullCut(listed.listing, dataset.identity), dataset, work), RecordFiles(""))
        return _plan(listed, dataset, shards, ("", _wished_date(config), ""))


def make_retry_plan(
    config: RunConfig,
    model: ModelFacts,
    run_id: str,
    out: str,
    reasons: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> Plan:
    """Plan the records of `out` whose latest outcome is quarantine, for one of `reasons` (all if none is given).

    The source is listed again, so that a record is found where it is now. Records that it no longer holds, or holds
    with another fingerprint, are left to the next whole run. `ids` limits the selection further. No record left to
    try again gives a plan without shards.

    Raises:
        ConfigError: a reason that does not exist.
        IdentityError: there is no dataset at `out`, or it was made by something else.
    """
    unknown = sorted(set(reasons) - set(Reason))
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} is no quarantine reason. Choose from {', '.join(sorted(Reason))}.")
    storage.check_writable(config.output.uri)
    with Workspace() as work:
        dataset = Dataset.open(out)
        listed = _list(config, model, 1, work)
        check_same(dataset.identity, listed.identity, dataset.uri)
        work.register("failed", dataset.quarantine(["id", "source_fingerprint", "reason", "attempts"]))
        work.register("reasons", pa.table({"reason": pa.array(reasons or list(Reason), pa.string())}))
        work.register("wanted", pa.table({"id": pa.array(ids, pa.string())}))
        with Listing(work, "selection") as selection:
            for batch in work.batches(_SELECTION.format(condition="SEMI JOIN wanted USING (id)" if ids else "")):
                selection.add(batch)
        told = replace(listed.source, notes=(*listed.source.notes, *retry_notes(work, dataset, reasons)))
        return _store(_Listed(selection, told, listed.identity, config), dataset, run_id, "retry", work)


_SELECTION = """
SELECT listing.* EXCLUDE (attempts), failed.attempts
FROM listing JOIN failed USING (id, source_fingerprint) SEMI JOIN reasons USING (reason) {condition}
"""


def source_digest(config: RunConfig) -> str:
    """Equal for runs over the same source: 16 hex digits over where it is and how it is read."""
    deciding = {"uris", "format", "id_column", "image_column", "text_column", "fingerprint_column", "limit"}
    tree = config.source.model_dump(mode="json", include=deciding)
    return hashlib.sha256(json.dumps({**tree, "uris": sorted(tree["uris"])}).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A listed source, and the identity that it would give a new dataset."""

    listing: Listing
    source: SourceSpec
    identity: Identity
    config: RunConfig


def _list(config: RunConfig, model: ModelFacts, workers: int, work: Workspace) -> _Listed:
    """List the source; refuses another model before listing anything."""
    if not config.output.uri:
        raise ConfigError("output.uri is not set: say where the dataset goes.")
    existing = Dataset.find(config.output.uri)
    if existing is not None:
        check_model(existing.identity, model, existing.uri)
    with Listing(work) as listing:
        source = sources.scan(config.source, listing.add, config.output.uri)
    if not listing.rows:
        raise SourceError(f"No records in {', '.join(config.source.uris)}: check the addresses and the format.")
    listing.check_unique()
    rows = config.output.shard_rows or target_rows(listing.rows, workers)
    return _Listed(listing, source, identify(model, source, config.output.embedding_dtype, rows), config)


def _store(listed: _Listed, dataset: Dataset, run_id: str, kind: str, work: Workspace) -> Plan:
    """Cut a listing, store what is to do, claim the date. `kind` is full, or retry for a selection."""
    run_uri, full = layout.run_uri(dataset.uri, run_id), FullCut(listed.listing, dataset.identity)
    shards = _take(without_done(full, dataset, work), RecordFiles(run_uri))
    wish = _wished_date(listed.config)
    run_date = claim_run_date(dataset.uri, full.plan_id, wish, run_id) if shards else wish
    plan = _plan(listed, dataset, shards, (run_id, run_date, run_uri))
    storage.overwrite(storage.join(run_uri, layout.CONFIG), listed.config.model_dump_json(indent=2).encode())
    facts = {
        "run_id": run_id,
        "run_date": run_date,
        "plan_id": full.plan_id,
        "kind": kind,
        "source": source_digest(listed.config),
        "rows_in_source": plan.rows_in_source,
        "rows_already_done": plan.rows_already_done,
    }
    write_shards(run_uri, shards, facts)
    return plan


def _take(cuts: Iterable[Cut], files: RecordFiles) -> list[Shard]:
    for cut in cuts:
        files.add(cut)
    files.finish_file()
    return files.shards


def _wished_date(config: RunConfig) -> str:
    return (config.output.run_date or datetime.now(UTC).date()).isoformat()


def _plan(listed: _Listed, dataset: Dataset, shards: list[Shard], names: tuple[str, str, str]) -> Plan:
    run_id, run_date, uri = names
    rows = sum(shard.rows for shard in shards)
    return Plan(
        run_id=run_id,
        run_date=run_date,
        rows_in_source=listed.listing.rows,
        rows_already_done=listed.listing.rows - rows,
        rows=rows,
        size_bytes=sum(shard.size_bytes for shard in shards),
        shards=shards,
        uri=uri,
        source=listed.source,
        dataset=replace(dataset, policy=storage.ReadPolicy.of_commits(listed.config.source)),
    )
