"""Planning over real Parquet tables and tars: only new records, stable shard ids, one date per shard."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset import layout
from pipeline.dataset.history import latest_config, planned_runs
from pipeline.dataset.plan_files import read_records, read_shards
from pipeline.errors import AlreadyExistsError, ConfigError, IdentityError, SourceError
from pipeline.plan.cuts.packing import Packing
from pipeline.plan.draft import Plan
from pipeline.plan.listing import Listing
from pipeline.plan.make import dry_plan, make_plan
from pipeline.plan.retry_sources import configs_to_retry
from pipeline.plan.run_ids import new_run_id
from pipeline.plan.shards import Cut, ToDo, full_cut
from pipeline.records import RECORDS
from pipeline.scratch.workspace import Workspace
from pipeline.sources import scan
from tests.fixtures.catalogs import MODEL, Catalog, planned_ids, shard_ids, skus
from tests.fixtures.datasets import PARTS, FakeModel, carry_out


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(3000))
    return catalog


def test_the_first_plan_has_every_record_in_source_order(catalog: Catalog) -> None:
    plan = catalog.plan("2026-11-21")
    assert planned_ids(plan) == skus(3000)
    assert (plan.rows, plan.rows_in_source, plan.rows_already_done) == (3000, 3000, 0)
    assert [shard.rows for shard in plan.shards] == [len(read_records(shard)) for shard in plan.shards]
    assert all(256 <= shard.rows <= 2048 for shard in plan.shards[:-1])
    assert plan.run_date == "2026-11-21"
    assert plan.dataset.identity.shard_rows == 512
    assert plan.source.has_images
    assert plan.source.has_texts


def test_a_planned_record_is_read_back_with_all_fields(catalog: Catalog) -> None:
    record = read_records(catalog.plan().shards[0])[5]
    assert record.id == "sku-000005"
    assert record.image_uri == "https://shop.example/sku-000005.jpg"
    assert record.container == str(catalog.source / "part-0.parquet")
    assert record.position == 5
    assert record.source_fingerprint.startswith("etag-sku-000005")


def test_the_stored_plan_equals_the_returned_plan(catalog: Catalog) -> None:
    plan = catalog.plan()
    shards, facts = read_shards(plan.uri)
    assert shards == plan.shards
    assert (facts["run_id"], facts["kind"], facts["rows_in_source"]) == (plan.run_id, "full", "3000")
    stored = pq.read_table(Path(plan.uri, "plan.parquet"))["records_uri"].unique().to_pylist()
    assert stored == ["records/00000.parquet"]
    records = pq.ParquetFile(Path(plan.uri, "records", "00000.parquet"))
    assert records.schema_arrow.equals(RECORDS)
    assert records.num_row_groups == len(plan.shards)
    assert latest_config(str(catalog.out)) == catalog.config()


def test_work_is_announced_while_a_new_dataset_is_listed_and_later_only_if_there_is_some(catalog: Catalog) -> None:
    announced: list[bool] = []

    def plan() -> Plan:
        announced.clear()
        there = (catalog.out / layout.IDENTITY).exists
        return make_plan(catalog.config(), MODEL, new_run_id(), 2, lambda: announced.append(there()))

    first = plan()
    assert announced[0] is False
    carry_out(first)
    assert (plan().rows, announced) == (0, [])
    catalog.write("part-1", skus(5, "new"))
    assert (plan().rows, announced) == (5, [True])


def test_planning_again_gives_the_same_shards_for_any_number_of_workers(catalog: Catalog) -> None:
    assert shard_ids(catalog.plan(workers=1)) == shard_ids(catalog.plan(workers=500))


def test_shard_ids_depend_on_the_model(catalog: Catalog, tmp_path: Path) -> None:
    other = make_plan(
        catalog.config().model_copy(update={"output": OutputConfig(uri=str(tmp_path / "other"))}),
        FakeModel(weights_sha256="9" * 64),
        new_run_id(),
        2,
    )
    assert not set(shard_ids(catalog.plan())) & set(shard_ids(other))


def test_a_complete_dataset_has_nothing_left_to_plan(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    again = catalog.plan()
    assert (again.rows, again.rows_already_done, again.shards) == (0, 3000, [])


def test_resuming_plans_the_uncommitted_shards_under_the_same_ids(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, shards=slice(0, 2))
    again = catalog.plan()
    assert shard_ids(again) == shard_ids(first)[2:]
    assert again.rows_already_done == sum(shard.rows for shard in first.shards[:2])


def test_quarantined_records_are_not_planned_again(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000007": "not_found"})
    assert catalog.plan().rows == 0


def test_only_records_with_a_changed_fingerprint_are_planned(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    catalog.write("part-0", skus(3000), changed=["sku-001234"])
    plan = catalog.plan()
    assert planned_ids(plan) == ["sku-001234"]
    assert plan.rows_already_done == 2999
    carry_out(plan)
    assert catalog.plan().rows == 0


def test_only_new_records_are_planned(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    ids = skus(3000)
    catalog.write("part-0", [*ids[:1500], "new-a", "new-b", *ids[1500:]])
    catalog.write("part-1", skus(700, "later"))
    plan = catalog.plan()
    assert planned_ids(plan) == ["new-a", "new-b", *skus(700, "later")]
    carry_out(plan)
    assert catalog.plan().rows == 0


def test_planners_at_different_times_agree_on_the_shards(catalog: Catalog) -> None:
    early = catalog.plan()
    carry_out(early, shards=slice(0, 1))
    late = catalog.plan()
    carry_out(late, shards=slice(0, 1))
    with pytest.raises(AlreadyExistsError):
        carry_out(early, shards=slice(1, 2))
    carry_out(early, shards=slice(2, None))
    assert late.dataset.embeddings().count_rows() == 3000


def test_a_shard_committed_during_planning_is_planned_whole(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, shards=slice(0, 1))

    with Workspace() as work:
        with Listing(work) as listing:
            scan(catalog.config().source, listing.add)

        def cuts_with_a_commit() -> Iterator[Cut]:
            for number, cut in enumerate(full_cut(listing, first.dataset.identity, first.source)):
                if number == 2:
                    carry_out(first, {read_records(first.shards[1])[0].id: "timeout"}, slice(1, 2))
                yield cut

        todo = ToDo(cuts_with_a_commit(), first.dataset, work)
        planned = [cut.shard_id for cut in todo.cuts(Packing(listing, first.source, 512, 512))]
    assert planned == shard_ids(first)[1:]


def test_planners_of_a_changed_source_agree_on_the_shards(catalog: Catalog) -> None:
    carry_out(catalog.plan())
    catalog.write("part-0", skus(3000), changed=skus(3000)[::100])
    one, two = catalog.plan(), catalog.plan()
    assert shard_ids(one) == shard_ids(two)
    carry_out(one, shards=slice(0, 1))
    assert shard_ids(catalog.plan()) == shard_ids(two)[1:]


def test_concurrent_first_planners_agree_on_the_shards(catalog: Catalog) -> None:
    with ThreadPoolExecutor(4) as pool:
        plans = list(pool.map(lambda workers: catalog.plan(workers=workers), [1, 2, 30, 400]))
    assert len({tuple(shard_ids(plan)) for plan in plans}) == 1
    assert len({plan.run_date for plan in plans}) == 1


def test_drivers_around_midnight_commit_under_one_date(catalog: Catalog) -> None:
    before = catalog.plan("2026-11-21")
    after = catalog.plan("2026-11-22")
    assert (before.run_date, after.run_date) == ("2026-11-21", "2026-11-21")
    carry_out(before)
    with pytest.raises(AlreadyExistsError):
        carry_out(after)
    catalog.write("part-1", skus(10, "next"))
    assert catalog.plan("2026-11-22").run_date == "2026-11-22"


def test_drivers_around_midnight_with_different_sources_commit_a_shard_once(catalog: Catalog) -> None:
    before = catalog.plan("2026-11-21")
    catalog.write("part-1", skus(10, "next"))
    after = catalog.plan("2026-11-22")
    assert planned_ids(after)[:10] == skus(10, "next")
    assert [shard.run_date for shard in after.shards] == ["2026-11-22"] + ["2026-11-21"] * len(before.shards)
    carry_out(before, shards=slice(0, 1))
    with pytest.raises(AlreadyExistsError):
        carry_out(after, shards=slice(1, 2))


def test_a_dry_plan_equals_the_plan_and_writes_nothing(catalog: Catalog) -> None:
    dry = dry_plan(catalog.config(), MODEL, 2)
    assert not catalog.out.exists()
    assert dry.uri == ""
    plan = catalog.plan()
    assert shard_ids(dry) == shard_ids(plan)
    carry_out(plan, shards=slice(0, 2))
    before = sorted(catalog.out.rglob("*"))
    assert shard_ids(dry_plan(catalog.config(), MODEL, 2)) == shard_ids(plan)[2:]
    assert sorted(catalog.out.rglob("*")) == before


def test_duplicate_ids_are_reported_with_their_files_and_the_cure(catalog: Catalog) -> None:
    catalog.write("part-1", ["sku-000001", "sku-000002", "fresh"])
    with pytest.raises(SourceError) as caught:
        catalog.plan()
    message = str(caught.value)
    assert message.startswith("Found 2 ids of more than one record (2 surplus records)")
    assert "'sku-000001': 2 records, in " in message
    assert "part-0.parquet and " in message
    assert message.endswith("--unique-ids container, or leave out one of the inputs.")
    assert not catalog.out.exists()


def test_at_most_five_duplicates_are_listed(catalog: Catalog) -> None:
    catalog.write("part-1", skus(50))
    with pytest.raises(SourceError) as caught:
        catalog.plan()
    assert str(caught.value).count("2 records, in") == 5


def test_another_model_is_refused_before_the_source_is_listed(catalog: Catalog) -> None:
    catalog.plan()
    for file in catalog.source.iterdir():
        file.unlink()
    with pytest.raises(IdentityError, match="vocabulary"):
        make_plan(catalog.config(), FakeModel(parts={**PARTS, "vocabulary": "2" * 64}), new_run_id(), 2)


def test_an_additional_column_is_refused(catalog: Catalog) -> None:
    catalog.plan()
    table = pq.read_table(catalog.source / "part-0.parquet")
    pq.write_table(table.append_column("price", pa.array([1] * 3000)), catalog.source / "part-0.parquet")
    with pytest.raises(IdentityError, match="price"):
        catalog.plan()


def test_requested_shard_rows_are_kept_for_later_plans(catalog: Catalog) -> None:
    plan = make_plan(catalog.config(shard_rows=300), MODEL, new_run_id(), 2)
    assert plan.dataset.identity.shard_rows == 300
    assert shard_ids(catalog.plan()) == shard_ids(plan)


def test_a_missing_output_is_an_error(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"output\.uri"):
        make_plan(RunConfig(source=catalog.config().source), MODEL, new_run_id(), 2)


def test_each_tar_is_a_shard_and_a_compressed_one_is_sequential(tmp_path: Path) -> None:
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz"), ("c.tar", "w:xz"), ("d.tgz", "w")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            for i in range(3):
                member = tarfile.TarInfo(f"{name[0]}{i}.jpg")
                member.size = 4
                tar.addfile(member, io.BytesIO(b"\xff\xd8\xff\xd9"))
    config = RunConfig(
        source=SourceConfig(uris=(str(tmp_path / "*.t*"),)),
        output=OutputConfig(uri=str(tmp_path / "out")),
    )
    plan = make_plan(config, MODEL, new_run_id(), 2)
    assert [(shard.rows, shard.sequential) for shard in plan.shards] == [(3, False), (3, True), (3, True), (3, False)]


def test_a_retry_plans_records_of_one_reason_under_new_shard_ids(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, {"sku-000003": "timeout", "sku-002900": "timeout", "sku-000010": "not_found"})
    plan = catalog.retry("timeout")
    assert planned_ids(plan) == ["sku-000003", "sku-002900"]
    assert [shard.attempts for shard in plan.shards] == [1]
    assert not set(shard_ids(plan)) & set(shard_ids(first))
    assert catalog.retry().rows == 3
    assert catalog.retry(ids=["sku-000010", "sku-000000"]).rows == 1


def test_a_retry_lists_each_source_that_has_records_in_quarantine(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000003": "timeout"})
    sources = [str(catalog.source)]
    for name, failed in (("good", {}), ("bad", {"bad-000001": "not_found"})):
        catalog.source = catalog.out.parent / name
        catalog.source.mkdir()
        catalog.write("part-0", skus(300, name))
        sources.append(str(catalog.source))
        carry_out(catalog.plan(), failed)

    def listed(*reasons: str) -> list[str]:
        configs = configs_to_retry(str(catalog.out), reasons)
        assert {config.output for config in configs} == {catalog.config().output}
        return [uri for config in configs for uri in config.source.uris]

    assert listed() == [sources[0], sources[2]]
    assert listed("timeout") == [sources[0]]
    assert listed("unreadable") == [sources[2]], "the newest run's, which then says that there is nothing to retry"
    # The plan that cut a compacted shard is not in its file's name any more.
    compact_in_place(str(catalog.out), CompactSettings(leave_days=0, grace_hours=0, compact_above=1.0))
    (catalog.out / layout.HELD).unlink()
    assert listed() == [sources[0], sources[2]]


def test_retries_count_attempts_until_they_succeed(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000003": "timeout", "sku-000004": "timeout"})
    carry_out(catalog.retry("timeout"), {"sku-000003": "timeout"})
    plan = catalog.retry("timeout")
    assert planned_ids(plan) == ["sku-000003"]
    assert [shard.attempts for shard in plan.shards] == [2]
    attempts = plan.dataset.quarantine(["id", "attempts"]).to_table().to_pydict()
    assert sorted(zip(attempts["id"], attempts["attempts"], strict=True)) == [
        ("sku-000003", 1),
        ("sku-000003", 2),
        ("sku-000004", 1),
    ]
    carry_out(plan)
    assert catalog.retry().rows == 0
    assert catalog.plan().rows == 0


def test_an_unfinished_retry_is_planned_again_under_the_same_ids(catalog: Catalog) -> None:
    carry_out(catalog.plan(), dict.fromkeys(skus(2000), "timeout"))
    first = catalog.retry("timeout")
    assert len(first.shards) > 2
    carry_out(first, shards=slice(0, 1))
    assert shard_ids(catalog.retry("timeout")) == shard_ids(first)[1:]


def test_changed_and_removed_records_are_not_retried(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {"sku-000003": "timeout", "sku-002999": "timeout"})
    catalog.write("part-0", skus(2999), changed=["sku-000003"])
    assert catalog.retry("timeout").rows == 0


def test_an_unknown_reason_is_refused_with_the_valid_ones(catalog: Catalog) -> None:
    carry_out(catalog.plan(), shards=slice(0, 1))
    with pytest.raises(ConfigError, match=r"time_out is not a quarantine reason.*timeout"):
        catalog.retry("time_out")


def test_planned_runs_are_listed_in_order(catalog: Catalog) -> None:
    runs = [catalog.plan().run_id, catalog.plan().run_id]
    Path(catalog.out, "_runs", "unfinished").mkdir()
    Path(catalog.out, "_runs", "unfinished", "config.json").write_text("{}")
    assert [run.run_id for run in planned_runs(layout.runs(str(catalog.out)))] == runs


def test_run_ids_sort_by_time() -> None:
    ids = [new_run_id() for _ in range(3)]
    assert len(set(ids)) == 3
    assert [id_[:19] for id_ in ids] == sorted(id_[:19] for id_ in ids)
