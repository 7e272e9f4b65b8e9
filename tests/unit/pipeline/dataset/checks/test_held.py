"""The count of a dataset: equal to what its files and plans hold, and made from the new ones alone."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from pipeline.dataset import history, layout
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.history import planned_runs
from pipeline.dataset.plan_files import read_records
from pipeline.plan.draft import Plan
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import carry_out
from tests.fixtures.documents import blocks
from tests.fixtures.places import ROOT

IDS = skus(1100)
REASONS = ["timeout", "not_found", "not_an_image"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", IDS)
    return catalog


def in_quarantine(dataset: Dataset) -> list[tuple[str, str]]:
    """Reason and id of each record in quarantine, from every file and plan that there is."""
    embedded = {(row["id"], row["source_fingerprint"]) for row in dataset.embeddings().to_table().to_pylist()}
    failed: dict[tuple[str, str], tuple[int, str]] = {}
    for row in dataset.quarantine().to_table().to_pylist():
        key = (row["id"], row["source_fingerprint"])
        failed[key] = max(failed.get(key, (0, "")), (row["attempts"], row["reason"]))
    newest: dict[str, tuple[str, str]] = {}
    for run in planned_runs(layout.runs(dataset.uri)):
        for shard in run.shards:
            for record in read_records(shard):
                state = (shard.planned_by, record.source_fingerprint)
                newest[record.id] = max(newest.get(record.id, state), state)
    replaced = {key for key in failed if key[0] in newest and newest[key[0]][1] != key[1]}
    return sorted((failed[key][1], key[0]) for key in failed.keys() - embedded - replaced)


def assert_right(catalog: Catalog) -> None:
    dataset, counted = Dataset.open(str(catalog.out)), count_held(str(catalog.out))
    held = in_quarantine(dataset)
    assert counted.rows == dataset.embeddings().count_rows()
    assert counted.quarantined == Counter(reason for reason, _ in held)
    assert counted.examples == dict(reversed(held))
    assert counted == count_held(dataset.uri, recount=True)


@contextmanager
def unreadable(plan: Path) -> Iterator[None]:
    """Zeros in place of a plan, with its size and time, so that only a reader of its content notices."""
    content, times = plan.read_bytes(), plan.stat()
    for now in (b"\0" * len(content), content):
        plan.write_bytes(now)
        os.utime(plan, ns=(times.st_atime_ns, times.st_mtime_ns))
        history._read.cache_clear()
        if now is not content:
            yield


def test_a_count_reads_no_plan_of_a_finished_run_again(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, {IDS[1]: "timeout", IDS[2]: "not_found"})
    assert_right(catalog)
    shutil.rmtree(Path(first.uri, "records"))
    with unreadable(Path(first.uri, "plan.parquet")):
        counted = count_held(str(catalog.out))
    assert (counted.rows, dict(counted.quarantined)) == (1098, {"timeout": 1, "not_found": 1})


def test_what_was_counted_is_corrected_by_later_runs(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {IDS[1]: "timeout", IDS[2]: "not_found", IDS[3]: "timeout"})
    assert_right(catalog)
    carry_out(catalog.retry("timeout"), {IDS[3]: "not_an_image"})
    assert_right(catalog)
    catalog.write("part-0", IDS, changed=[IDS[2], IDS[9]])
    carry_out(catalog.plan(), {IDS[9]: "timeout"})
    assert_right(catalog)
    assert dict(count_held(str(catalog.out)).quarantined) == {"not_an_image": 1, "timeout": 1}
    [query] = blocks(ROOT / "docs" / "embed.md", "sql")  # which lists them
    listed = duckdb.sql(query.replace("'out/", f"'{catalog.out}/")).fetchall()
    assert sorted((reason, id_) for id_, reason, _ in listed) == [("not_an_image", IDS[3]), ("timeout", IDS[9])]


def test_a_run_that_finishes_after_a_later_one_counts_too(catalog: Catalog) -> None:
    early = catalog.plan()
    carry_out(early, {IDS[1]: "timeout"}, slice(0, 1))
    assert_right(catalog)
    catalog.write("part-0", IDS, changed=[IDS[1], IDS[-1]])
    carry_out(catalog.plan(), {IDS[-1]: "not_found"})
    assert_right(catalog)
    carry_out_new(early, {IDS[1]: "timeout", IDS[-1]: "timeout"}, slice(1, None))
    assert_right(catalog)


def test_a_waiting_run_is_read_again_only_when_one_of_its_shards_was_committed(catalog: Catalog) -> None:
    early = catalog.plan()
    carry_out(early, {IDS[1]: "timeout"}, slice(0, 1))
    assert_right(catalog)
    with unreadable(Path(early.uri, "plan.parquet")):
        assert count_held(str(catalog.out)).quarantined == {"timeout": 1}
    carry_out(early, {}, slice(1, None))
    assert_right(catalog)


@pytest.mark.parametrize("gone", ["shard", "shard, planned again", "quarantine", "plan", "waiting plan"])
def test_a_count_is_right_after_files_were_deleted(catalog: Catalog, gone: str) -> None:
    first = catalog.plan()
    carry_out(first, {IDS[1]: "timeout", IDS[2]: "not_found"}, slice(0, 1 if gone == "waiting plan" else None))
    catalog.write("part-0", IDS, changed=[IDS[2]])
    second = catalog.plan()
    carry_out(second)
    assert_right(catalog)
    if gone.startswith("shard"):
        Path(plan_file(first)).unlink()
        if "planned again" in gone:
            carry_out(catalog.plan(), {IDS[3]: "not_found"})
    elif gone == "quarantine":
        next(catalog.out.glob("_quarantine/*/*")).unlink()
    else:
        Path((first if gone == "waiting plan" else second).uri, "plan.parquet").unlink()
    if gone == "quarantine":
        assert count_held(str(catalog.out)) == count_held(str(catalog.out), recount=True)
    else:
        assert_right(catalog)


def plan_file(plan: Plan) -> str:
    """The embeddings file of a plan's first shard."""
    return layout.embeddings_uri(plan.dataset.uri, plan.shards[0].run_date, plan.shards[0].shard_id)


@pytest.mark.parametrize("damage", ["deleted", "damaged", "of another format", "of another dataset"])
def test_a_stored_count_that_cannot_be_used_is_replaced(catalog: Catalog, tmp_path: Path, damage: str) -> None:
    carry_out(catalog.plan(), {IDS[1]: "timeout"})
    assert_right(catalog)
    held = catalog.out / layout.HELD
    if damage == "deleted":
        held.unlink()
    elif damage == "damaged":
        held.write_bytes(b"PAR1")
    elif damage == "of another format":
        held.write_bytes(held.read_bytes().replace(b'"format": 2', b'"format": 9'))
    else:
        other = Catalog(tmp_path / "other")
        other.write("part-0", skus(300, "other"))
        carry_out(other.plan(), {"other-000001": "not_found"})
        count_held(str(other.out))
        shutil.copy(other.out / layout.HELD, held)
    assert_right(catalog)


@pytest.mark.parametrize("seed", range(2))
def test_any_history_is_counted_like_the_plans_do(catalog: Catalog, seed: int) -> None:
    chance, unfinished, changed = random.Random(seed), list[Plan](), set[str]()
    for step in range(6):
        what = chance.choice(["all", "some", "retry", "finish"]) if step else "all"
        failing = {id_: chance.choice(REASONS) for id_ in chance.sample(IDS[:40], 12)}
        if what in ("all", "some"):
            changed ^= set(chance.sample(IDS[:40], 6))
            catalog.write("part-0", IDS, changed=sorted(changed))
            plan = catalog.plan()
            half = slice(0, max(1, len(plan.shards) // 2)) if what == "some" else slice(None)
            carry_out_new(plan, failing, half)
            if what == "some":
                unfinished.append(plan)
        elif what == "retry" and (catalog.out / "_quarantine").exists():
            carry_out_new(catalog.retry(chance.choice(REASONS)), failing, slice(None))
        elif unfinished:
            carry_out_new(unfinished.pop(0), failing, slice(None))
        if chance.random() < 0.7:
            assert_right(catalog)
    assert_right(catalog)


def carry_out_new(plan: Plan, failing: dict[str, str], shards: slice) -> None:
    """Carry out those of the shards that nobody has committed yet."""
    committed = plan.dataset.committed().present
    for number, shard in enumerate(plan.shards[shards], shards.start or 0):
        if shard.shard_id not in committed:
            carry_out(plan, failing, slice(number, number + 1))
