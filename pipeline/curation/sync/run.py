"""Brings a collection to the latest state of a dataset, or compares the two.

Killed anywhere, the same call goes on: rows that arrived are not sent again, since ids and versions are compared with
the database before anything is sent. A call that finds nothing changed reads the watermark and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline import storage
from pipeline.curation.sync.contract import SyncTarget
from pipeline.curation.sync.registry import DATABASES, connector
from pipeline.curation.sync.results import Compared, Synced, Verified
from pipeline.curation.sync.session import SyncSession
from pipeline.curation.sync.settings import SyncSettings
from pipeline.curation.sync.targets.absent import AbsentTarget
from pipeline.curation.sync.targets.counted import CountedTarget
from pipeline.dataset.dataset import Dataset
from pipeline.phases import OnPhase, ignore
from pipeline.scratch.workspace import Workspace

#: Ids of differing rows that `verify` names, of each kind.
_EXAMPLES = 5


def sync(out: str, settings: SyncSettings, on_phase: OnPhase = ignore, dry_run: bool = False) -> Synced:
    """Bring the collection to the latest state of the dataset at `out`; a dry run only counts.

    Raises:
        UsageError: the collection is of something else, a client's package is missing, or credentials are refused.
        IdentityError: there is no dataset.
        StorageError, RunError: reading or writing failed; the same call goes on.
    """
    with connected(out, settings, writing=not dry_run) as target:
        return sync_target(out, settings, target, on_phase, dry_run)


def sync_target(
    out: str, settings: SyncSettings, target: SyncTarget, on_phase: OnPhase = ignore, dry_run: bool = False
) -> Synced:
    """As `sync`, with a target that is open."""
    requests = CountedTarget(target)
    session = SyncSession(Dataset.open(out), settings, requests, on_phase)
    compared: Compared = "nothing"
    counts = (0, 0, 0)
    if not session.is_current:
        ids = session.ids_of_interest()
        compared = "all" if ids is None else "changes"
        if ids is None or ids:
            with Workspace() as work:
                changes = session.changes(ids, work)
                changes.compare(requests, settings.rows_at_once)
                counts = (changes.new, changes.replaced, changes.dropped)
                if not dry_run:
                    session.send(changes, of_all=ids is None)
        elif not dry_run:
            session.settle()
    return Synced(
        *(out, settings.to, settings.dest, settings.collection, compared, *counts),
        rows=requests.count(),
        requests=dict(requests.requests),
        resumed=session.interrupted,
    )


def verify(out: str, settings: SyncSettings, on_phase: OnPhase = ignore, sample: int | None = None) -> Verified:
    """Compare the collection with the latest state of the dataset at `out`: all ids, or a random sample.

    Raises the errors of `sync`.
    """
    with connected(out, settings, writing=False) as target, Workspace() as work:
        requests = CountedTarget(target)
        session = SyncSession(Dataset.open(out), settings, requests, on_phase)
        changes = session.changes(None, work)
        changes.compare(requests, settings.rows_at_once, sample)
        return Verified(
            *(out, settings.to, settings.dest, settings.collection),
            expected=changes.wanted,
            held=requests.count(),
            compared=changes.compared,
            missing=changes.new,
            stale=changes.replaced,
            extra=changes.dropped,
            examples=changes.examples(_EXAMPLES),
            complete=not session.interrupted,
        )


@contextmanager
def connected(out: str, settings: SyncSettings, writing: bool) -> Iterator[SyncTarget]:
    """The collection. A local database that does not exist is not created unless `writing`."""
    settings.check(out)
    connect = connector(settings.to)
    dest = storage.normalise(settings.dest)
    if storage.is_local(dest):
        if writing:
            in_a_file = DATABASES[settings.to].in_a_file
            if in_a_file and not Path(dest).exists():
                storage.check_file(dest)
            else:
                storage.check_writable(storage.parent(dest) if in_a_file else dest)
        elif not Path(dest).exists():
            yield AbsentTarget()
            return
    target = connect(dest, settings.collection)
    try:
        yield target
    finally:
        target.close()
