"""Test compaction in place: the same rows in fewer files, whatever is killed, whoever reads or writes meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.compaction import in_place
from pipeline.compaction.in_place import compact_in_place, dry_compaction
from pipeline.compaction.settings import CompactSettings
from pipeline.dataset import Dataset, latest
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.plan_files import read_records
from pipeline.errors import CommittedError
from pipeline.snapshot.compact import compact
from pipeline.storage.backends.local import LocalBackend
from tests.fixtures.datasets import carry_out
from tests.fixtures.nights import Shop, skus, states

NOW = CompactSettings(leave_days=0, grace_hours=0)
LATER = CompactSettings(leave_days=0, grace_hours=24)
DROP = CompactSettings(leave_days=0, grace_hours=0, drop_superseded=True)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Six nights with changes, failures, ids that go and come back, and a shard that is pending."""
    shop = Shop(tmp_path)
    goods = skus(60)
    shop.night(goods, failing=("sku-00003", "sku-00004"))
    shop.night(goods | {"sku-00001": "B", "sku-00002": "B"}, failing=("sku-00002",))
    goods["sku-00004"] = "B"
    shop.night({id_: etag for id_, etag in goods.items() if id_ != "sku-00005"})
    shop.night(goods | {"new-1": "A"})
    shop.night(goods | {"new-1": "A", "sku-00006": "C"}, shards=slice(0))
    shop.night(goods | {"new-1": "A", "new-2": "A", "sku-00006": "D"})
    return shop


def rows(out: str) -> list[dict[str, object]]:
    return latest(out).read_all().sort_by("id").to_pylist()


def outcomes(out: str) -> list[tuple[str, str]]:
    """Every row of both kinds, as a reader that lists the folder sees them."""
    dataset = Dataset.open(out)
    tables = (dataset.embeddings(["id", "source_fingerprint"]), dataset.quarantine(["id", "source_fingerprint"]))
    return sorted((row["id"], row["source_fingerprint"]) for table in tables for row in table.to_table().to_pylist())


def test_the_rows_stay_and_the_files_become_few(shop: Shop) -> None:
    before, every, held = rows(shop.out), outcomes(shop.out), count_held(shop.out)
    assert dry_compaction(shop.out, NOW).written == 1
    done = compact_in_place(shop.out, LATER)
    assert (done.files, done.files_after, done.rows) == (5, 1, len(every))
    assert rows(shop.out) == before  # with the date of every row
    assert outcomes(shop.out) == every
    report = verify(shop.out)
    assert (report.ok, report.complete, report.leftovers, report.shards) == (True, True, (), 1)
    assert len(report.replaced_files) > 5
    after = count_held(shop.out)
    assert (after.rows, after.quarantined, after.shards) == (held.rows, held.quarantined, 1)
    assert compact_in_place(shop.out, LATER).written == 0
    assert len(verify(shop.out).replaced_files) > 5
    assert compact_in_place(shop.out, NOW).deleted == len(report.replaced_files)
    assert (verify(shop.out).replaced_files, rows(shop.out)) == ((), before)
    assert compact(shop.out, f"{shop.out}-snapshot").rows_quarantined == 1
    assert [row["id"] for row in rows(f"{shop.out}-snapshot")] == [row["id"] for row in before]


def test_files_are_in_the_partition_of_their_newest_row_and_segments_have_the_exact_dates(shop: Shop) -> None:
    config = shop.config()
    assert config.output.run_date is None
    compact_in_place(shop.out, NOW)
    [file] = Dataset.open(shop.out).files()
    assert {row["run_date"] for row in rows(shop.out)} == {date.fromisoformat(file.run_date)}
    assert compact_in_place(shop.out, CompactSettings()).written == 0


def test_runs_go_on_as_if_nothing_had_happened(shop: Shop) -> None:
    """Nothing is embedded twice, ids that come back keep their order, and the pending shard is committed once."""
    goods = dict(shop.goods)
    compact_in_place(shop.out, NOW)
    compact_in_place(shop.out, NOW)
    assert shop.plan().rows == 0
    back = goods | {"sku-00001": "B", "sku-00006": "A"}
    assert shop.night(back).rows == 0
    assert states(shop.out) == {id_: etag for id_, etag in back.items() if id_ != "sku-00003"}
    shop.night(back | {"sku-00007": "E", "new-3": "A"})
    compact_in_place(shop.out, NOW)
    assert states(shop.out) == {id_: etag for id_, etag in shop.goods.items() if id_ != "sku-00003"}
    assert verify(shop.out).complete


def test_a_driver_that_planned_earlier_cannot_commit_a_replaced_shard_again(shop: Shop, tmp_path: Path) -> None:
    early = shop.night(shop.goods | {"late-1": "A"}, shards=slice(0))
    carry_out(shop.plan())
    compact_in_place(shop.out, NOW)
    compact_in_place(shop.out, NOW)
    every = outcomes(shop.out)
    with pytest.raises(CommittedError):
        carry_out(early)
    # A driver with an old view of the log creates the file all the same.
    [shard] = early.shards
    new = Dataset.open(shop.out).files()[0].uri
    path = Path(shop.out, "embeddings", f"run_date={shard.run_date}", f"{shard.shard_id}.parquet")
    path.write_bytes(Path(new).read_bytes())
    assert outcomes(shop.out) == every
    assert shop.plan().rows == 0
    assert compact_in_place(shop.out, NOW).deleted == 1
    assert not path.exists()


class _Killed(BaseException):
    """As a kill: no handler of errors sees it."""


class _Disk:
    """Counts the changes of the disk, calls `after` after each, and dies after number `kill_at`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes, self.kill_at, self.after = 0, -1, lambda: None
        for name in ("put", "delete"):
            self._watch(monkeypatch, name, getattr(LocalBackend, name))

    def _watch(self, monkeypatch: pytest.MonkeyPatch, name: str, real: Callable[..., None]) -> None:
        def changed(backend: object, *arguments: object) -> None:
            real(backend, *arguments)
            self.changes += 1
            self.after()
            if self.changes == self.kill_at:
                raise _Killed

        monkeypatch.setattr(LocalBackend, name, changed)


def test_killed_after_any_change_it_goes_on_and_readers_see_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path / "shop")
    for night in range(2):
        shop.night(skus(8) | {f"sku-{night:05d}": "B"}, failing=("sku-00007",))
    before, every = rows(shop.out), outcomes(shop.out)
    disk = _Disk(monkeypatch)

    def looked(out: str) -> None:
        found = outcomes(out)
        assert len(found) == len(set(found)) or found == every
        assert set(found) <= set(every)
        assert rows(out) == before

    def compacted_twice(out: str) -> None:
        compact_in_place(out, DROP)
        compact_in_place(out, DROP)

    out = str(tmp_path / "undisturbed")
    shutil.copytree(shop.out, out)
    disk.after = lambda: looked(out)
    compacted_twice(out)
    disk.after = lambda: None
    changes, disk.changes = disk.changes, 0
    assert changes > 8
    for disk.kill_at in range(1, changes + 1):
        killed = str(tmp_path / f"killed-{disk.kill_at}")
        shutil.copytree(shop.out, killed)
        disk.changes = 0
        with pytest.raises(_Killed):
            compacted_twice(killed)
        looked(killed)
        disk.changes = changes
        compacted_twice(killed)
        looked(killed)
        files = Dataset.open(killed).committed()
        assert (len(files.files), files.missing) == (1, frozenset())
        assert len(list(Path(killed, "embeddings").rglob("*.parquet"))) == 1


def test_superseded_rows_are_dropped_and_states_that_come_back_are_embedded_again(shop: Shop) -> None:
    before = rows(shop.out)
    done = compact_in_place(shop.out, DROP)
    assert (done.rows_dropped, done.files_after) == (4, 1)
    assert rows(shop.out) == before
    report = verify(shop.out)
    assert (report.ok, report.complete, report.missing, report.unplanned) == (True, True, 0, 0)
    assert count_held(shop.out).quarantined == {"unreadable": 1}
    assert shop.plan().rows == 0
    back = shop.goods | {"sku-00001": "B"}
    plan = shop.night(back)
    assert [record.id for shard in plan.shards for record in read_records(shard)] == ["sku-00001"]
    assert states(shop.out) == {id_: etag for id_, etag in back.items() if id_ != "sku-00003"}
    assert verify(shop.out).complete


def test_full_files_are_never_rewritten(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.night(skus(1500))
    full = {file.uri for file in Dataset.open(shop.out).files() if pq.read_metadata(file.uri).num_rows >= 256}
    for night in range(3):
        shop.night(shop.goods | {f"new-{night}": "A"})
    compact_in_place(shop.out, NOW)
    shop.night(shop.goods | {"sku-00000": "B", "new-1": "B"})
    assert compact_in_place(shop.out, DROP).rows_dropped == 1
    assert full <= {file.uri for file in Dataset.open(shop.out).files()}
    assert all(Path(uri).exists() for uri in full)


def test_two_at_once_leave_one_compaction(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins, writes and switches while the first writes its files."""
    every, inner = outcomes(shop.out), []
    real = in_place.write_shards

    def interrupted(*arguments: object) -> int:
        monkeypatch.setattr(in_place, "write_shards", real)
        inner.append(compact_in_place(shop.out, LATER))
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(in_place, "write_shards", interrupted)
    outer = compact_in_place(shop.out, LATER)
    assert (inner[0].resumed, inner[0].files_after) == (True, 1)
    assert outer.written == 0
    assert outcomes(shop.out) == every
    assert verify(shop.out).ok
    assert not [uri for uri in verify(shop.out).leftovers if storage.exists(uri)]
