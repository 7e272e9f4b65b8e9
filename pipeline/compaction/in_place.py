"""Compacts a dataset in place: small files become full ones while readers read and runs commit.

    clean -> draft -> plan.parquet -> entry "writing" -> new files -> entry "switched"

In: a dataset and settings. Out: the same rows in fewer files. Killed anywhere, the same call goes on: before the entry
"writing" nothing has happened, from then on the plan is fixed, and the entry "switched" is one create-only request, in
which the new files begin to count and the replaced ones end. Replaced files are deleted by a later call, after a grace
period, and nothing else ever is. Two calls at once carry out the same plan, or one of them plans anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pipeline import storage
from pipeline.compaction.pieces import CompactionPlan, read_plan, write_plan
from pipeline.compaction.plan import Drafted, draft, sizes_of
from pipeline.compaction.settings import CompactSettings
from pipeline.compaction.superseded import known_changes
from pipeline.compaction.write import OutdatedPlanError, write_shards
from pipeline.dataset import layout
from pipeline.dataset.compacted.log import CompactionEntry, CompactionState, Replaced, compactions
from pipeline.dataset.dataset import Dataset
from pipeline.errors import AlreadyExistsError, RunError
from pipeline.phases import OnPhase, counted, ignore

_TRIES = 5


@dataclass(frozen=True, slots=True)
class InPlace:
    """What a compaction in place did, or would do.

    Attributes:
        out: the dataset.
        files, files_after: files that count, before and after.
        ideal_files: full files that would hold all rows.
        target_rows: rows of a full file.
        replaced, written: of the files, how many are replaced, and by how many.
        rows: rows that move, quarantined ones included.
        rows_dropped: superseded rows that are left out.
        read_bytes: size of the replaced embeddings files.
        written_bytes: bytes written by this call; of a dry run about the same as `read_bytes`.
        deleted: files of earlier compactions that this call deleted.
        waiting: replaced shards whose files a later call deletes.
        resumed: whether an unfinished compaction was finished.
    """

    out: str
    files: int
    files_after: int
    ideal_files: int
    target_rows: int
    replaced: int
    written: int
    rows: int
    rows_dropped: int
    read_bytes: int
    written_bytes: int
    deleted: int
    waiting: int
    resumed: bool


def dry_compaction(out: str, settings: CompactSettings) -> InPlace:
    """What `compact_in_place` would do if no compaction is unfinished; nothing is written."""
    dataset = Dataset.open(out)
    _, entry = compactions(dataset.uri).newest()
    planned = draft(dataset, settings)
    moved = sum(file.size_bytes for file in planned.sources)
    return _result(dataset, planned, planned.plan, entry, read_bytes=moved, written_bytes=moved)


def compact_in_place(out: str, settings: CompactSettings, on_phase: OnPhase = ignore) -> InPlace:
    """Compact the dataset at `out`, or finish an unfinished compaction.

    Raises:
        IdentityError: there is no dataset.
        StorageError, RunError: reading or writing failed; the same call resumes.
    """
    dataset = Dataset.open(out)
    storage.check_writable(dataset.uri)
    log = compactions(dataset.uri)
    deleted = _clean(dataset, settings)
    for _ in range(_TRIES):
        number, before = log.newest()
        planned = None if before and before.state == "writing" else draft(dataset, settings)
        plan = planned.plan if planned else read_plan(dataset.uri, before.compaction if before else "")
        if plan is None:
            return _result(dataset, planned, None, before, deleted=deleted)
        try:
            if planned:
                write_plan(dataset.uri, plan)
                number += 1
                log.append(number, _begun(before, plan))
            switched, written_bytes = _carry_out(dataset, number, plan, on_phase)
        except AlreadyExistsError:
            continue  # Another call was first: see what it did.
        if switched is not None:
            moved = _moved_bytes(dataset, plan)
            return _result(
                dataset, planned, plan, switched, read_bytes=moved, written_bytes=written_bytes, deleted=deleted
            )
    raise RunError(
        f"The dataset {dataset.uri} changed during each of {_TRIES} attempts to compact it: run the same command again "
        "when no other `hanclip compact` is active. Nothing is lost."
    )


def _carry_out(
    dataset: Dataset, number: int, plan: CompactionPlan, on_phase: OnPhase
) -> tuple[CompactionEntry | None, int]:
    """Write the new files and switch; entry `number` began this compaction. Without an entry it was abandoned.

    Raises AlreadyExistsError when another call made the next entry.
    """
    log = compactions(dataset.uri)
    try:
        written = write_shards(dataset, plan, counted(on_phase, "Rewriting rows", plan.rows))
        outdated = plan.facts["lossy"] == "True" and plan.facts["changes"] != known_changes(dataset)
    except OutdatedPlanError:
        written, outdated = 0, True
    before = _at(log.newest(), number)
    entry = (_abandoned if outdated else _switched)(before, plan)
    log.append(number + 1, entry)
    return None if outdated else entry, written


def _at(newest: tuple[int, CompactionEntry | None], number: int) -> CompactionEntry:
    """The newest entry, which has this number. Raises AlreadyExistsError when there is a later one."""
    found, entry = newest
    if entry is None or found != number:
        raise AlreadyExistsError(f"Entry {number + 1} of the log of compactions exists already.")
    return entry


def _clean(dataset: Dataset, settings: CompactSettings) -> int:
    """Delete the files of shards that were replaced before the grace period; returns how many there were."""
    log = compactions(dataset.uri)
    number, entry = log.newest()
    if entry is None:
        return 0
    now = datetime.now(UTC)
    waiting = [one for one in entry.waiting if now - one.at < timedelta(hours=settings.grace_hours)]
    # A replaced shard that a driver committed once more is deleted again.
    over = entry.replaced.difference(*(one.shards for one in waiting))
    found = [
        file.uri
        for folder in (layout.EMBEDDINGS, layout.QUARANTINE)
        for file in layout.data_files(dataset.uri, folder)
        if file.shard_id in over
    ]
    storage.in_threads(storage.delete, found, 16)
    if len(waiting) < len(entry.waiting):
        state: CompactionState = "writing" if entry.state == "writing" else "cleaned"
        cleaned = entry.model_copy(update={"state": state, "at": now, "waiting": tuple(waiting)})
        try:
            log.append(number + 1, cleaned)
        except AlreadyExistsError:
            return len(found)  # The next call makes the entry.
    return len(found)


def _begun(before: CompactionEntry | None, plan: CompactionPlan) -> CompactionEntry:
    new = tuple(shard.shard_id for shard in plan.shards)
    known = before or CompactionEntry(compaction=plan.name, state="writing", at=datetime.now(UTC))
    return _next(known, "writing", plan, writing=new, hidden=(*known.hidden, *new))


def _switched(before: CompactionEntry, plan: CompactionPlan) -> CompactionEntry:
    new, replaced = before.writing, frozenset(plan.replaced)
    return _next(
        before,
        "switched",
        plan,
        hidden=(*_without(before.hidden, new), *plan.replaced),
        writing=(),
        added=(*_without(before.added, replaced), *new),
        waiting=(*before.waiting, Replaced(at=datetime.now(UTC), shards=plan.replaced)),
        lossy=before.lossy or plan.facts["lossy"] == "True",
    )


def _abandoned(before: CompactionEntry, plan: CompactionPlan) -> CompactionEntry:
    return _next(before, "abandoned", plan, writing=(), abandoned=(*before.abandoned, *before.writing))


def _next(before: CompactionEntry, state: CompactionState, plan: CompactionPlan, **changes: object) -> CompactionEntry:
    fixed = {"compaction": plan.name, "state": state, "at": datetime.now(UTC)}
    return before.model_copy(update={**fixed, **changes})


def _without(names: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    left_out = frozenset(others)
    return tuple(name for name in names if name not in left_out)


def _moved_bytes(dataset: Dataset, plan: CompactionPlan) -> int:
    """Size of the replaced embeddings files."""
    replaced = frozenset(plan.replaced)
    found = layout.data_files(dataset.uri, layout.EMBEDDINGS)
    return sum(file.size_bytes for file in found if file.shard_id in replaced)


def _result(
    dataset: Dataset,
    planned: Drafted | None,
    plan: CompactionPlan | None,
    entry: CompactionEntry | None,
    **counts: int,
) -> InPlace:
    """The result; without a draft a stored plan was carried out."""
    replaced, written = (len(plan.replaced), len(plan.shards)) if plan else (0, 0)
    sizes = planned.sizes if planned else sizes_of(dataset, dataset.files())
    before = sizes.files if planned else sizes.files + replaced - written
    return InPlace(
        out=dataset.uri,
        files=before,
        files_after=before - replaced + written,
        ideal_files=sizes.ideal_files,
        target_rows=sizes.target_rows,
        replaced=replaced,
        written=written,
        rows=plan.rows if plan else 0,
        rows_dropped=int(plan.facts["rows_dropped"]) if plan else 0,
        read_bytes=counts.get("read_bytes", 0),
        written_bytes=counts.get("written_bytes", 0),
        deleted=counts.get("deleted", 0),
        waiting=sum(len(one.shards) for one in entry.waiting) if entry else 0,
        resumed=plan is not None and planned is None,
    )
