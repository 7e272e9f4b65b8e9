"""Plans a run: lists the source, cuts shards, leaves out what is done, adopts pending shards, and stores the plan.

    sources.scan -> Listing -> full_cut -> ToDo -> Pending -> Packer -> RecordFiles, plan.parquet -> number in the log

Everything is streamed, so memory is bounded however long the source is. Planning writes only `_dataset.json` of a new
dataset, tombstones, the run's folder, the log of plans, and `_cuts/`, which saves the next plan time. A plan counts
once it has its number; of a run that dies before that, only the tombstones count.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from pipeline import sources, storage
from pipeline.config import RunConfig
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.identity import check_model, check_same, identify
from pipeline.dataset.parts import ModelFacts, unrecorded
from pipeline.dataset.schema import OwnColumns
from pipeline.errors import (
    AlreadyExistsError,
    ConfigError,
    EmptySourceError,
    NotFoundError,
    SourceError,
    UsageError,
)
from pipeline.phases import OnWork
from pipeline.plan import log, tombstones
from pipeline.plan.cutting import target_rows
from pipeline.plan.draft import Draft, Listed, Plan
from pipeline.plan.ids.repeated import check_unique
from pipeline.plan.ids.taken import check_other_sources
from pipeline.plan.listing import Listing
from pipeline.plan.log import PlanKind
from pipeline.plan.record_files import write_shards
from pipeline.plan.retry import retry_notes
from pipeline.plan.run_ids import id_after
from pipeline.scratch.workspace import Workspace
from pipeline.sources.places.nearby import describe
from pipeline.storage import read_claim
from pipeline.vocabulary import Reason

logger = logging.getLogger(__name__)


def make_plan(config: RunConfig, model: ModelFacts, run_id: str, workers: int, on_work: OnWork = lambda: None) -> Plan:
    """Plan a run and store the plan; creates the dataset if there is none.

    Args:
        config: the source and the output.
        model: the model that makes the vectors.
        run_id: from `new_run_id`; the plan's own is later if the clock is behind that of an earlier run.
        workers: actors that share the work; decides only the size of shards.
        on_work: called at the first record for a new dataset, else when the records without an outcome are counted.

    Raises:
        SourceError: duplicate ids, no records (EmptySourceError), or an error of `sources.scan`.
        IdentityError: the dataset has another identity.
    """
    storage.check_writable(config.output.uri)
    storage.remove_abandoned(config.output.uri)
    with Workspace() as work:
        listed = _list(config, model, workers, work, on_work)
        dataset = Dataset.open_or_create(config.output.uri, listed.identity)
        return _store(listed, dataset, run_id, "full", work, on_work)


def dry_plan(config: RunConfig, model: ModelFacts, workers: int) -> Plan:
    """The plan that `make_plan` would make, with nothing written to the output; raises the same errors."""
    storage.check_writable(config.output.uri, probe=False)
    with Workspace() as work:
        listed = _list(config, model, workers, work)
        dataset = Dataset.find(config.output.uri)
        if dataset is None:
            dataset = Dataset(storage.normalise(config.output.uri), listed.identity)
        check_same(dataset.identity, listed.identity, dataset.uri)
        vanished = tombstones.record(work, dataset, listed.source, "")
        return replace(Draft(listed, dataset, "", work).plan(), rows_vanished=vanished)


def make_retry_plan(
    config: RunConfig,
    model: ModelFacts,
    run_id: str,
    out: str,
    reasons: Sequence[str] = (),
    ids: Sequence[str] = (),
) -> Plan:
    """Plan the quarantined records of `out`, for `reasons` if given; `ids` limits the selection further.

    The source is listed again, so that records are read from where they are now. Records that it no longer holds, or
    holds with another fingerprint, are left to the next full run. The plan has no shards if there is nothing to retry.

    Raises:
        ConfigError: there is no such reason.
        IdentityError: there is no dataset at `out`, or it has another identity.
    """
    unknown = sorted(set(reasons) - set(Reason))
    if unknown:
        raise ConfigError(f"{', '.join(unknown)} is not a quarantine reason. Choose from {', '.join(sorted(Reason))}.")
    storage.check_writable(config.output.uri)
    storage.remove_abandoned(config.output.uri)
    with Workspace() as work:
        dataset = Dataset.open(out)
        listed = _list(config, model, 1, work)
        check_same(dataset.identity, listed.identity, dataset.uri)
        dataset = dataset.recording(listed.identity)
        work.register("failed", dataset.quarantine(["id", "source_fingerprint", "reason", "attempts"]))
        work.register("reasons", pa.table({"reason": pa.array(reasons or list(Reason), pa.string())}))
        work.register("wanted", pa.table({"id": pa.array(ids, pa.string())}))
        with Listing(work, "selection") as selection:
            for batch in work.batches(_SELECTION.format(condition="SEMI JOIN wanted USING (id)" if ids else "")):
                selection.add(batch)
        source = replace(listed.source, notes=(*listed.source.notes, *retry_notes(work, dataset, reasons)))
        return _store(Listed(selection, source, listed.identity, config, 1), dataset, run_id, "retry", work)


_SELECTION = """
SELECT listing.* EXCLUDE (attempts), failed.attempts
FROM listing JOIN failed USING (id, source_fingerprint) SEMI JOIN reasons USING (reason) {condition}
"""


def _list(
    config: RunConfig, model: ModelFacts, workers: int, work: Workspace, on_work: OnWork = lambda: None
) -> Listed:
    """List the source. Another model than the dataset's is refused before that."""
    if not config.output.uri:
        raise ConfigError("output.uri is not set: name the folder of the dataset.")
    _refuse_unfinished_snapshot(config.output.uri)
    existing = Dataset.find(config.output.uri)
    if existing is not None:
        check_model(existing.identity, model, existing.uri)
    with Listing(work) as listing, _naming_what_is_there(config):

        def add(rows: pa.RecordBatch) -> None:
            if existing is None and rows.num_rows:
                on_work()
            listing.add(rows)

        source = sources.scan(config.source, add, config.output.uri, listing.clear)
        if not listing.rows:
            raise EmptySourceError(f"No records in {', '.join(config.source.uris)}: check the address and the format.")
    if existing is not None:
        notes = unrecorded(existing.identity.model_parts, model.name, model.unusual)
        source = replace(source, notes=(*source.notes, *notes))
    source, signals = _fitted(source, config.image.signals, existing)
    if config.source.unique_ids == "row":
        listing.add_rows_to_ids()
    check_unique(listing, source)
    if existing is not None:
        check_other_sources(listing, work, existing, config)
    rows = config.output.shard_rows or target_rows(listing.rows, workers)
    identity = replace(identify(model, source, config, rows), signals=signals)
    return Listed(listing, source, identity, config, workers)


def _fitted(
    source: sources.SourceSpec, wanted: tuple[str, ...] | None, existing: Dataset | None
) -> tuple[sources.SourceSpec, tuple[str, ...]]:
    """The source with the names that its columns have in the dataset, and what is measured of its images.

    Raises:
        ConfigError: signals of a source without images are wanted.
    """
    if wanted and not source.has_images:
        raise ConfigError("--signals measures images, and the source has none: leave it out.")
    signals = existing.identity.signals if existing and wanted is None else wanted or ()
    own = existing.identity.own_columns if existing else OwnColumns(source.has_images, source.has_texts, signals)
    return source.with_own_names(own.absent), signals


@contextmanager
def _naming_what_is_there(config: RunConfig) -> Iterator[None]:
    """Add to the error for a source without records what was looked for, and what is there or near."""
    try:
        yield
    except SourceError as error:
        if not (isinstance(error, EmptySourceError) or isinstance(error.__cause__, NotFoundError)):
            raise
        about = filter(None, map(describe, config.source.uris))
        raise type(error)(" ".join([str(error), *about])) from error.__cause__


def _refuse_unfinished_snapshot(out: str) -> None:
    """Raise UsageError for a snapshot that is not finished: finishing it would add the rows of this run again."""
    claim = read_claim(storage.join(storage.normalise(out), layout.SNAPSHOT))
    if claim and not storage.exists(storage.join(layout.run_uri(out, claim["run_id"]), layout.SUMMARY)):
        made_by = "filter" if claim.get("selection") else "compact"
        raise UsageError(
            f"{out} is an unfinished snapshot: finish `hanclip {made_by} {claim['source']} {out} ...` first, or choose "
            "another OUT."
        )


def _store(
    listed: Listed, dataset: Dataset, run_id: str, kind: PlanKind, work: Workspace, on_work: OnWork = lambda: None
) -> Plan:
    """Plan a listing, store the plan and take a number. `kind` is full, or retry for a selection."""
    _, newest = log.newest(dataset.uri)
    run_id = id_after(run_id, newest.run_id) if newest else run_id
    vanished = tombstones.record(work, dataset, listed.source, run_id) if kind == "full" else 0
    draft = Draft(listed, dataset, run_id, work)
    if draft.has_work:
        on_work()
    storage.overwrite(storage.join(draft.uri, layout.CONFIG), listed.config.model_dump_json(indent=2).encode())
    plan = _stored(draft, kind)
    while plan.shards:
        try:
            log.append(dataset.uri, draft.number + 1, draft.entry(plan, kind))
            break
        except AlreadyExistsError:
            logger.info("Another run planned at the same time: reading its plan.")
            if draft.catch_up():
                plan = _stored(draft, kind)
    draft.remember(plan, kind)
    return replace(plan, rows_vanished=vanished)


def _stored(draft: Draft, kind: PlanKind) -> Plan:
    plan = draft.plan()
    facts = {
        "run_id": plan.run_id,
        "run_date": plan.run_date,
        "kind": kind,
        "source": draft.source,
        "rows_in_source": plan.rows_in_source,
        "rows_already_done": plan.rows_already_done,
    }
    write_shards(plan.uri, plan.shards, facts)
    return plan
