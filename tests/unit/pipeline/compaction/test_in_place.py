"""Test compaction in place: the same rows in fewer files, whatever is killed, whoever reads or writes meanwhile."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import storage
from pipeline.compaction import in_place
from pipeline.compaction.in_place import compact_in_place, dry_compaction
from pipeline.compaction.settings import CompactSettings
from pipeline.curation.filter.run import filter_rows
from pipeline.curation.filter.settings import FilterSettings
from pipeline.dataset import Dataset
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.plan_files import read_records
from pipeline.errors import CommittedError
from pipeline.phases import ignore
from pipeline.snapshot.compact import compact
from tests.fixtures.datasets import carry_out
from tests.fixtures.nights import Shop, outcomes, rows, skus, states

NOW = CompactSettings(leave_days=0, grace_hours=0)
LATER = CompactSettings(leave_days=0, grace_hours=24)
DROP = CompactSettings(leave_days=0, grace_hours=0, drop_superseded=True)


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


def test_every_row_keeps_its_date(shop: Shop) -> None:
    """A new file is in the partition of its newest row; `latest` and filters have the date of each row."""
    recent = CompactSettings(leave_days=(datetime.now(UTC).date() - date(2026, 11, 4)).days, grace_hours=0)
    before = {row["id"]: row["run_date"] for row in rows(shop.out)}
    assert len(set(before.values())) == 4
    assert compact_in_place(shop.out, recent).written == 1
    assert sorted(file.run_date for file in Dataset.open(shop.out).files()) == ["2026-11-04", "2026-11-06"]
    compact_in_place(shop.out, NOW)
    [file] = Dataset.open(shop.out).files()
    assert file.run_date == "2026-11-06"
    assert {row["id"]: row["run_date"] for row in rows(shop.out)} == before
    assert set(Dataset.open(shop.out).embeddings(["id"]).to_table()["run_date"].to_pylist()) == {date(2026, 11, 6)}
    wanted = {id_ for id_, day in before.items() if day == date(2026, 11, 3)}
    filter_rows(shop.out, FilterSettings(where="run_date = DATE '2026-11-03'"), ignore)
    assert set(pq.read_table(f"{shop.out}/filter/default/kept.parquet")["id"].to_pylist()) == wanted != set()
    assert shop.plan().rows == 0


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
    shop.night(skus(600))
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
