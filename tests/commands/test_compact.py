"""Test snapshots: their contents, nightly runs that continue in them, and recovery after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.dry_run import _earlier
from flows.cli import main
from pipeline.dataset import Dataset, latest
from pipeline.dataset.checks.status import status
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.history import latest_config
from pipeline.errors import UsageError
from pipeline.plan.make import make_retry_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.snapshot.compact import compact
from tests.fixtures.datasets import FakeModel, carry_out
from tests.fixtures.nights import Shop, skus, states
from tests.fixtures.servers.s3 import S3Server

GOODS = skus(3900)
CHANGED = dict.fromkeys(list(GOODS)[100:160], "B")
DROPPED = list(GOODS)[200:230]
FAILED = tuple(list(GOODS)[300:340])


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Three nights: all goods with some failures; then changes and deletions; then a few new goods."""
    shop = Shop(tmp_path)
    shop.night(GOODS, failing=FAILED)
    goods = {id_: etag for id_, etag in (GOODS | CHANGED).items() if id_ not in DROPPED}
    shop.night(goods, failing=tuple(CHANGED)[:5])
    shop.night(goods | {f"new-{i}": "A" for i in range(20)})
    return shop


def rows(out: str) -> list[dict[str, object]]:
    return latest(out).read_all().drop_columns(["run_date"]).sort_by("id").to_pylist()


def shard_names(out: str) -> list[str]:
    return sorted(Path(file.uri).name for file in Dataset.open(out).files())


def test_a_snapshot_is_a_dataset_of_the_latest_state(shop: Shop) -> None:
    snapshot = f"{shop.out}-snapshot"
    summary = compact(shop.out, snapshot)
    report = verify(snapshot)
    assert (report.ok, report.complete, report.leftovers) == (True, True, ())
    assert (report.planned, report.quarantined) == (3890, 45) == (summary.rows, summary.rows_quarantined)
    assert rows(snapshot) == rows(shop.out)
    whole = Dataset.open(snapshot).embeddings().to_table()
    assert whole.num_rows == 3845
    failed = Dataset.open(snapshot).quarantine().to_table()
    assert set(failed["id"].to_pylist()) == {*FAILED, *tuple(CHANGED)[:5]}
    assert not Path(snapshot, "_tombstones").exists()
    sizes = [pq.read_metadata(file.uri).num_rows for file in Dataset.open(snapshot).files()]
    assert len(sizes) < len(Dataset.open(shop.out).files())
    assert sorted(sizes)[1] >= 200
    assert status(snapshot).runs[0].state == "complete"
    assert _earlier(snapshot) is None  # Copy times do not predict embedding times.


def test_nightly_runs_and_retries_continue_in_a_snapshot(shop: Shop) -> None:
    snapshot = f"{shop.out}-snapshot"
    compact(shop.out, snapshot)
    assert shop.plan(snapshot).rows == 0
    shop.stock({**shop.goods, "sku-00001": "C", "new-99": "A"} | dict.fromkeys(list(CHANGED)[5:7], "A"))
    plan = shop.plan(snapshot)
    assert plan.rows == 4
    carry_out(plan)
    shop.stock({id_: etag for id_, etag in shop.goods.items() if id_ != "sku-00007"})
    assert shop.plan(snapshot).rows_vanished == 1
    assert verify(snapshot).complete
    assert states(snapshot)["sku-00001"] == "C"
    config = latest_config(snapshot)
    assert config.output.uri == snapshot
    assert make_retry_plan(config, FakeModel(), new_run_id(), snapshot, ["unreadable"]).rows == 45


def test_a_killed_compaction_resumes_to_the_same_snapshot(shop: Shop) -> None:
    undisturbed, snapshot = f"{shop.out}-1", f"{shop.out}-2"
    assert compact(shop.out, undisturbed).shards > 3  # more than one and two copied at once
    before = rows(shop.out)
    script = (  # it dies when it begins with the third shard, since it reports progress later than it makes it
        "import os, sys; from itertools import count; from pipeline.snapshot import compact\n"
        "copy, begun = compact._copy, count()\n"
        "compact._copy = lambda plan, shard: copy(plan, shard) if next(begun) < 2 else os._exit(9)\n"
        "compact.compact(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", script, shop.out, snapshot]
    assert subprocess.run(command, check=False).returncode == 9
    assert not verify(snapshot).complete
    with pytest.raises(UsageError, match="finish `hanclip compact"):
        shop.plan(snapshot)
    shop.night(shop.goods | {"late": "A", "sku-00001": "C"})
    summary = compact(shop.out, snapshot)
    assert summary.complete
    assert rows(snapshot) == before
    assert shard_names(snapshot) == shard_names(undisturbed)
    assert verify(snapshot).ok
    assert verify(snapshot).complete
    assert compact(shop.out, snapshot) == summary


def test_a_compaction_killed_while_planning_plans_again(shop: Shop) -> None:
    snapshot = f"{shop.out}-snapshot"
    compact(shop.out, snapshot)
    wanted = shard_names(snapshot)
    for folder in ("embeddings", "_quarantine"):
        for file in Path(snapshot, folder).rglob("*.parquet"):
            file.unlink()
    [plan] = Path(snapshot, "_runs").glob("*/plan.parquet")
    plan.unlink()
    compact(shop.out, snapshot)
    assert shard_names(snapshot) == wanted
    assert verify(snapshot).complete


def test_concurrent_compactions_make_one_snapshot(shop: Shop) -> None:
    snapshot = f"{shop.out}-snapshot"
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(partial(compact, shop.out), [snapshot] * 2)
    assert first == second
    assert rows(snapshot) == rows(shop.out)
    report = verify(snapshot)
    assert (report.ok, report.complete, report.duplicated) == (True, True, 0)


def test_compacts_in_an_object_store(tmp_path: Path, s3: S3Server) -> None:
    shop = Shop(tmp_path)
    shop.out = f"{s3.bucket()}/out"
    shop.night(skus(20), failing=("sku-00002",))
    shop.night(skus(18) | {"sku-00001": "B"})
    assert states(shop.out) == {id_: etag for id_, etag in shop.goods.items() if id_ != "sku-00002"}
    snapshot = shop.out.replace("/out", "/snapshot")
    assert compact(shop.out, snapshot).rows == 18
    assert rows(snapshot) == rows(shop.out)
    assert verify(snapshot).complete
    assert compact(shop.out, snapshot).complete


def hanclip(capfd: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    capfd.readouterr()
    try:
        main(argv)
    except SystemExit as end:
        code = end.code
    out, err = capfd.readouterr()
    return (code if isinstance(code, int) else int(code is not None)), out, err


def test_the_command_writes_a_snapshot_and_reports_its_rows(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot = f"{shop.out}-snapshot"
    code, out, _ = hanclip(capfd, "compact", shop.out, snapshot, "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["rows"], plan["rows_quarantined"], plan["dry_run"]) == (0, 3890, 45, True)
    assert not Path(snapshot).exists()
    code, out, _ = hanclip(capfd, "compact", shop.out, snapshot)
    assert code == 0
    assert "3,890 = 3,845 embedded + 45 quarantined" in out
    again = json.loads(hanclip(capfd, "compact", shop.out, snapshot, "--json")[1])
    assert (again["complete"], again["shards"]) == (True, plan["shards"])
    assert hanclip(capfd, "verify", snapshot)[0] == 0


def test_an_unsuitable_target_is_refused(shop: Shop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = Shop(tmp_path / "other")
    other.night(skus(3))
    compact(other.out, str(tmp_path / "theirs"))
    (tmp_path / "link").symlink_to(shop.out)
    for place, why in (
        (shop.out, "overlap"),
        (f"{shop.out}/snapshot", "overlap"),
        (f"{tmp_path}/link/snapshot", "overlap"),
        (str(tmp_path), "overlap"),
        (other.out, "is not empty and holds no snapshot of"),
        (str(tmp_path / "theirs"), f"is a snapshot of {other.out}"),
    ):
        code, _, err = hanclip(capfd, "compact", shop.out, place)
        assert (code, why in err) == (2, True), err


def test_the_command_compacts_in_place(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    """A dry run writes nothing; then files of all dates are compacted, and deleted after the grace."""
    for night in range(3):
        shop.night(shop.goods | {f"late-{night}": "A"})
    command = ("compact", shop.out, "--leave-days", "0")
    before, files = rows(shop.out), len(Dataset.open(shop.out).files())
    planned = json.loads(hanclip(capfd, *command, "--dry-run", "--json")[1])
    assert (planned["dry_run"], planned["files"], planned["deleted"]) == (True, files, 0)
    assert len(Dataset.open(shop.out).files()) == files
    assert "waiting" in hanclip(capfd, *command)[1]
    assert len(Dataset.open(shop.out).files()) == planned["files_after"] < files
    _, out, _ = hanclip(capfd, "verify", shop.out)
    assert "sound and complete" in out
    assert "files that a compaction replaced" in out
    assert "replaced files" in hanclip(capfd, "status", shop.out)[1]
    ended = json.loads(hanclip(capfd, *command, "--grace-hours", "0", "--json")[1])
    assert (ended["deleted"] >= planned["replaced"], ended["waiting"]) == (True, 0)
    assert rows(shop.out) == before
    code, _, err = hanclip(capfd, *command[:2], f"{shop.out}-snapshot", "--leave-days", "0")
    assert (code, "takes no --leave-days" in err) == (2, True)


def test_an_unfinished_snapshot_that_a_run_wrote_to_is_refused(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    snapshot = f"{shop.out}-snapshot"
    compact(shop.out, snapshot)
    Path(Dataset.open(snapshot).files()[0].uri).unlink()
    shop.plan(snapshot)
    code, _, err = hanclip(capfd, "compact", shop.out, snapshot)
    assert (code, "is not finished, but run" in err) == (2, True), err
