"""Overlapping runs over a changing source: each record is in one shard, whichever run plans and commits it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset.checks.status import status
from pipeline.dataset.checks.verify import verify
from pipeline.dataset.plan_files import read_records
from pipeline.errors import AlreadyExistsError, RunError
from pipeline.plan import log
from pipeline.plan.draft import Plan
from pipeline.plan.log import LogEntry
from pipeline.plan.make import dry_plan, make_plan
from pipeline.plan.run_ids import new_run_id
from pipeline.sources import reader
from tests.fixtures.catalogs import MODEL, Catalog, planned_ids, shard_ids, skus
from tests.fixtures.datasets import carry_out
from tests.fixtures.servers.s3 import S3Server


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(1500))
    return catalog


def interrupt(patch: pytest.MonkeyPatch, step: str, act: Callable[[], None]) -> None:
    """Call `act` once, just before the next planner reads the log ("newest") or writes it ("append")."""
    real = getattr(log, step)

    def first_act(*arguments: object) -> object:
        patch.setattr(log, step, real)
        act()
        return real(*arguments)

    patch.setattr(log, step, first_act)


def holders(plans: Iterable[Plan]) -> Counter[tuple[str, str, int]]:
    """The number of different shards that hold each record in these plans, without retries."""
    shards = {shard.shard_id: shard for plan in plans for shard in plan.shards}
    return Counter(
        (record.id, record.source_fingerprint, shard.attempts)
        for shard in shards.values()
        for record in read_records(shard)
    )


def finish(plans: Iterable[Plan]) -> None:
    """Every plan commits what it can, one shard each in turn."""
    for plan in plans:
        for number in range(len(plan.shards)):
            with suppress(AlreadyExistsError):
                carry_out(plan, shards=slice(number, number + 1))


def assert_sound(catalog: Catalog, outcomes: int) -> None:
    report = verify(str(catalog.out))
    assert (report.problems, report.complete, report.duplicated, report.unplanned) == ((), True, 0, 0)
    assert report.embedded + report.quarantined + report.replaced == outcomes


def entries(catalog: Catalog) -> list[LogEntry]:
    files = sorted(Path(catalog.out, "_plans").iterdir())
    assert [file.name for file in files] == [f"{number:08d}.json" for number in range(len(files))]
    return [LogEntry.model_validate_json(file.read_bytes()) for file in files]


def change(catalog: Catalog) -> None:
    """Add one id, change one, delete one; all others move down a row."""
    catalog.write("part-0", ["added", *(id_ for id_ in skus(1500) if id_ != "sku-000700")], changed=["sku-000100"])


def test_overlapping_runs_plan_each_record_once_while_the_source_changes(catalog: Catalog) -> None:
    early = catalog.plan("2026-11-21")
    change(catalog)
    late = catalog.plan("2026-11-22")
    assert planned_ids(late)[:2] == ["added", "sku-000100"]
    assert set(shard_ids(early)) < set(shard_ids(late))
    assert set(holders([early, late]).values()) == {1}
    assert (late.rows_in_source, late.rows_already_done, late.rows) == (1500, 0, 1502)
    carry_out(late, shards=slice(0, 3))
    finish([early, late])
    assert_sound(catalog, 1502)
    assert catalog.plan().shards == []


@pytest.mark.parametrize("step", ["newest", "append"])
def test_a_planner_sees_a_plan_that_was_made_after_it_listed_the_source(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    plans: list[Plan] = []

    def another_night() -> None:
        change(catalog)
        plans.append(catalog.plan("2026-11-22"))
        carry_out(plans[0], shards=slice(1, 2))

    interrupt(monkeypatch, step, another_night)
    plans.append(catalog.plan("2026-11-21"))
    assert [entry.run_id for entry in entries(catalog)] == [plan.run_id for plan in plans]
    assert set(holders(plans).values()) == {1}
    assert planned_ids(plans[1])[:2] == ["sku-000100", "sku-000700"]
    finish(plans)
    assert_sound(catalog, 1502)


def test_adopted_records_are_read_at_their_current_position(catalog: Catalog) -> None:
    early = catalog.plan()
    change(catalog)
    moved = {record.id: record.position for shard in catalog.plan().shards for record in read_records(shard)}
    planned = {record.id: record.position for shard in early.shards for record in read_records(shard)}
    assert moved["sku-000099"] == planned["sku-000099"] + 1
    assert moved["sku-001499"] == planned["sku-001499"]
    assert moved["sku-000700"] == planned["sku-000700"]


def test_an_adopted_record_that_is_gone_is_quarantined_as_not_found(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    config = RunConfig(source=SourceConfig(uris=(str(photos),)), output=OutputConfig(uri=str(tmp_path / "out")))
    make_plan(config, MODEL, new_run_id(), 1)
    (photos / "1.jpg").unlink()
    plan = make_plan(config, MODEL, new_run_id(), 1)
    assert (plan.rows_in_source, plan.rows) == (2, 3)
    read = reader(plan.source).read(read_records(plan.shards[0]))
    assert [one.failure and one.failure.reason for one in read] == [None, "not_found", None]


def test_an_adopted_record_that_changed_is_quarantined_as_changed(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        (photos / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    config = RunConfig(source=SourceConfig(uris=(str(photos),)), output=OutputConfig(uri=str(tmp_path / "out")))
    early = make_plan(config, MODEL, new_run_id(), 1)
    (photos / "1.jpg").write_bytes(b"\xff\xd8another\xff\xd9")
    plan = make_plan(config, MODEL, new_run_id(), 1)
    new, adopted = plan.shards
    assert (new.rows, adopted.shard_id) == (1, early.shards[0].shard_id)
    read = reader(plan.source).read(read_records(adopted))
    assert [one.failure and one.failure.reason for one in read] == [None, "changed", None]
    carry_out(plan, {"1.jpg": "changed"}, slice(1, 2))
    carry_out(plan, shards=slice(0, 1))
    report = verify(str(tmp_path / "out"))
    assert (report.ok, report.complete, report.embedded, report.quarantined, report.replaced) == (True, True, 3, 0, 1)
    assert not status(str(tmp_path / "out")).quarantined


def test_another_sources_pending_shards_are_left_alone_and_stay_open(catalog: Catalog) -> None:
    first = catalog.plan()
    other = Catalog(catalog.source.parent / "other")
    other.out = catalog.out
    other.write("part-9", skus(400, "other"))
    second = other.plan()
    assert planned_ids(second) == skus(400, "other")
    assert [entry.open_runs for entry in entries(catalog)] == [(), (first.run_id,)]
    finish([first, second])
    assert_sound(catalog, 1900)


def test_a_planner_needs_only_the_newest_entry(catalog: Catalog) -> None:
    for number in range(3):
        catalog.write(f"part-{number + 1}", skus(10, f"night-{number}"))
        carry_out(catalog.plan())
    catalog.write("part-9", skus(10, "late"))
    killed = catalog.plan("2026-11-21")
    catalog.write("part-10", skus(10, "later"))
    resumed = catalog.plan("2026-11-22")
    assert [entry.open_runs for entry in entries(catalog)] == [(), (), (), (), ()]
    assert shard_ids(resumed)[1:] == shard_ids(killed)
    for old in sorted(Path(catalog.out, "_plans").iterdir())[:-1]:
        old.unlink()
    assert shard_ids(catalog.plan("2026-11-23")) == shard_ids(resumed)


def test_a_plan_without_work_takes_no_number(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    assert catalog.plan().shards == []
    assert len(entries(catalog)) == 1


def test_a_run_that_is_killed_before_it_takes_a_number_is_ignored(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    interrupt(monkeypatch, "append", die)
    with pytest.raises(KeyboardInterrupt):
        catalog.plan("2026-11-21")
    change(catalog)
    plan = catalog.plan("2026-11-22")
    assert (plan.rows, plan.run_date) == (1500, "2026-11-22")
    finish([plan])
    assert_sound(catalog, 1500)


def test_planners_that_race_take_consecutive_numbers_and_share_every_record(catalog: Catalog) -> None:
    windows = [Catalog(catalog.source.parent / f"window-{number}") for number in range(4)]
    for number, window in enumerate(windows):
        window.out = catalog.out
        window.write("part-0", skus(1500)[number * 200 : number * 200 + 900])
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda window: window.plan(), windows))
    assert len(entries(catalog)) == 4
    assert sorted(entry.run_id for entry in entries(catalog)) == sorted(plan.run_id for plan in plans)
    assert set(holders(plans).values()) == {1}
    assert sorted(id_ for id_, *_ in holders(plans)) == skus(1500)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda plan: finish([plan]), plans))
    assert_sound(catalog, 1500)


def test_planners_that_race_in_a_bucket_share_every_record(s3: S3Server, tmp_path: Path) -> None:
    out = f"{s3.bucket()}/out"
    configs = []
    for number in range(2):
        window = Catalog(tmp_path / f"window-{number}")
        window.write("part-0", skus(1000)[number * 300 : number * 300 + 700])
        configs.append(RunConfig(source=window.config().source, output=OutputConfig(uri=out)))
    with ThreadPoolExecutor(2) as pool:
        plans = list(pool.map(lambda config: make_plan(config, MODEL, new_run_id(), 2), configs))
    assert log.newest(out)[0] == 1
    assert set(holders(plans).values()) == {1}
    assert sorted(id_ for id_, *_ in holders(plans)) == skus(1000)


def test_a_store_without_create_only_writes_keeps_a_log_too(catalog: Catalog) -> None:
    config = catalog.config().model_copy(update={"output": OutputConfig(uri="memory://plan-log/out")})
    first = make_plan(config, MODEL, new_run_id(), 2)
    change(catalog)
    second = make_plan(config, MODEL, new_run_id(), 2)
    assert log.newest("memory://plan-log/out")[0] == 1
    assert set(holders([first, second]).values()) == {1}


def test_retries_that_overlap_try_each_record_once(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000003": "timeout", "sku-000700": "timeout", "sku-000900": "not_found"})
    everything = catalog.retry()
    change(catalog)
    some = catalog.retry("timeout")
    assert shard_ids(some) == shard_ids(everything)
    assert (some.rows_in_source, some.rows) == (1, 3)
    finish([some, everything])
    assert_sound(catalog, 1500)


def test_a_dry_plan_includes_pending_shards(catalog: Catalog) -> None:
    catalog.plan("2026-11-21")
    change(catalog)
    dry = dry_plan(catalog.config("2026-11-22"), MODEL, 2)
    assert shard_ids(dry) == shard_ids(catalog.plan("2026-11-22"))
    assert dry.shards[-1].run_date == "2026-11-21"


def test_a_shard_names_the_runs_that_planned_and_committed_it(catalog: Catalog) -> None:
    first = catalog.plan()
    second = catalog.plan()
    carry_out(second)
    footer = pq.read_metadata(next(catalog.out.glob("embeddings/*/*.parquet"))).metadata
    assert footer[b"hanclip.planned_by"].decode() == first.run_id
    assert footer[b"hanclip.run_id"].decode() == second.run_id


def test_plans_from_before_the_log_are_read_and_their_claims_ignored(catalog: Catalog) -> None:
    plan = catalog.plan("2026-11-21")
    carry_out(plan, shards=slice(0, 1))
    stored = Path(plan.uri, "plan.parquet")
    pq.write_table(pq.read_table(stored).drop(["run_date", "planned_by"]), stored)
    entry = Path(catalog.out, "_plans", "00000000.json")
    entry.rename(entry.with_name("0" * 32 + ".json"))
    again = catalog.plan("2026-11-22")
    assert (shard_ids(again), again.run_date) == (shard_ids(plan)[1:], "2026-11-22")
    finish([again])
    assert_sound(catalog, 1500)


def test_a_damaged_entry_is_refused_with_its_cure(catalog: Catalog) -> None:
    catalog.plan()
    entry = Path(catalog.out, "_plans", "00000000.json")
    entry.write_text(json.dumps({**json.loads(entry.read_text()), "from_the_future": 1}))
    with pytest.raises(RunError, match=r"00000000\.json is damaged or .* newer hanclip:\n.*from_the_future.*\nUpgrade"):
        catalog.plan()
