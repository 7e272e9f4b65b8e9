"""Test kills of a compaction at every change of the disk, alone and beside runs that commit and readers that list."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.dataset import Dataset
from pipeline.dataset.checks.verify import verify
from pipeline.errors import CommittedError
from pipeline.plan.draft import Plan
from pipeline.storage.backends.local import LocalBackend
from tests.fixtures.datasets import carry_out
from tests.fixtures.nights import Shop, outcomes, skus, states

KEEP = CompactSettings(leave_days=0, grace_hours=0)
DROP = CompactSettings(leave_days=0, grace_hours=0, drop_superseded=True)
FAILING = "sku-00007"


class _Killed(BaseException):
    """As a kill: no handler of errors sees it."""


class _Disk:
    """Calls `after` after each change of the disk, and dies after number `kill_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes, self.kill_at, self.after, self._aside = 0, -1, lambda: None, False
        monkeypatch.setattr("pipeline.storage.in_threads", lambda work, jobs, _: [work(job) for job in jobs])
        for name in ("put", "delete"):
            self._watch(monkeypatch, name, getattr(LocalBackend, name))

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, real: Callable[..., None]) -> None:
        def changed(backend: object, *arguments: object) -> None:
            real(backend, *arguments)
            if self._aside:
                return
            self.changes += 1
            with self._others():
                self.after()
            if self.changes == self.kill_at:
                raise _Killed

        monkeypatch.setattr(LocalBackend, name, changed)

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Changes of others do not count."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False


@dataclass(frozen=True)
class _State:
    """What a reader sees: every row of both kinds, and the latest state of each id that has one."""

    every: frozenset[tuple[str, str]]
    latest: dict[str, str]

    @classmethod
    def of(cls, shop: Shop) -> _State:
        latest = {id_: etag for id_, etag in shop.goods.items() if id_ != FAILING}
        return cls(frozenset(outcomes(shop.out)), latest)

    def check(self, out: str, lossy: bool) -> None:
        """Each row is there once; with `lossy`, superseded ones may be gone."""
        found = outcomes(out)
        assert len(found) == len(set(found))
        assert self.every.issuperset(found)
        superseded = {(id_, state) for id_, state in self.every if id_ != FAILING and state[0] != self.latest[id_]}
        assert self.every - set(found) <= (superseded if lossy else set())
        assert states(out) == self.latest


@dataclass(frozen=True)
class _Night:
    """A dataset of two runs, and the plan of a third with a new id and a new state of an old one.

    `early` is the plan of the second run; readers see `before`, and `after` the third has committed.
    """

    out: str
    early: Plan
    late: Plan
    before: _State
    after: _State


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> _Night:
    shop = Shop(tmp_path_factory.mktemp("night"))
    for number in range(2):
        early = shop.night(skus(8) | {f"sku-{number:05d}": "B"}, failing=(FAILING,))
    before = _State.of(shop)
    late = shop.night(shop.goods | {"new-1": "A", "sku-00003": "C"}, shards=slice(0))
    beyond = shop.copy(tmp_path_factory.mktemp("beyond"))
    carry_out(_over(late, beyond.out))
    return _Night(shop.out, early, late, before, _State.of(beyond))


def _over(plan: Plan, out: str) -> Plan:
    """The plan of a driver of the copy at `out`."""
    return replace(plan, dataset=replace(plan.dataset, uri=out))


def _compact_twice(out: str, settings: CompactSettings) -> None:
    """Compact, and delete what was replaced."""
    for _ in range(2):
        compact_in_place(out, settings)


def _finish(out: str, settings: CompactSettings) -> None:
    """Repeat the command until the rows are in one file, and no other file is there."""
    for _ in range(4):
        compact_in_place(out, settings)
        if len(Dataset.open(out).files()) == len(list(Path(out, "embeddings").rglob("*.parquet"))) == 1:
            return
    raise AssertionError("There are files that should have been compacted or deleted.")


def _commit_beside(night: _Night, out: str, lossy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit the planned shard, and a replaced one again: by a driver that has just listed, and by one that has not."""
    carry_out(_over(night.late, out))
    [shard] = night.early.shards
    file = Path(out, "embeddings", f"run_date={shard.run_date}", f"{shard.shard_id}.parquet")
    was_there = file.exists()
    Dataset.open(out).files()
    with pytest.raises(CommittedError):
        carry_out(_over(night.early, out))
    assert file.exists() == was_there
    with monkeypatch.context() as patched:
        old_view = {out: (time.monotonic(), frozenset[str]())}
        patched.setattr("pipeline.dataset.compacted.committed._REPLACED", old_view)
        if was_there:
            with pytest.raises(CommittedError):
                carry_out(_over(night.early, out))
        else:
            carry_out(_over(night.early, out))
    night.after.check(out, lossy)


def _steps(night: _Night, out: str, disk: _Disk, settings: CompactSettings) -> range:
    """The changes that a compaction of a copy at `out` makes."""
    shutil.copytree(night.out, out)
    _compact_twice(out, settings)
    assert disk.changes > 8
    return range(1, disk.changes + 1)


@pytest.mark.parametrize(
    ("settings", "beside"),
    [(DROP, False), (KEEP, True), (DROP, True)],
    ids=["alone", "beside a run", "beside a run, dropping rows"],
)
def test_killed_after_any_change_it_goes_on_and_readers_see_each_row_once(
    settings: CompactSettings, beside: bool, night: _Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run commits a new id, a new state of an id that moves, and once more a shard that is replaced."""
    disk, lossy = _Disk(monkeypatch), settings.drop_superseded
    steps = _steps(night, str(tmp_path / "undisturbed"), disk, settings)
    for disk.kill_at in steps:
        out = str(tmp_path / f"killed-{disk.kill_at}")
        shutil.copytree(night.out, out)

        def others(out: str = out) -> None:
            if disk.changes == disk.kill_at:
                night.before.check(out, lossy)
                if beside:
                    _commit_beside(night, out, lossy, monkeypatch)

        disk.changes, disk.after = 0, others
        with pytest.raises(_Killed):
            _compact_twice(out, settings)
        disk.changes, disk.after = len(steps), lambda: None
        _finish(out, settings)
        (night.after if beside else night.before).check(out, lossy)
        assert not Dataset.open(out).committed().missing
    assert verify(out).missing == (0 if beside else len(night.late.shards) * 2)
