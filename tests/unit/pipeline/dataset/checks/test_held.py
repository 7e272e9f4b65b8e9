"""The count of the quarantine after a run: equal to the count from all plans, and made from the new ones alone."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from pipeline.dataset import layout
from pipeline.dataset.checks.held import count_held
from pipeline.dataset.checks.status import status
from pipeline.plan.draft import Plan
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import carry_out

IDS = skus(1100)
REASONS = ["timeout", "not_found", "not_an_image"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(tmp_path)
    catalog.write("part-0", IDS)
    return catalog


def assert_equal_to_status(catalog: Catalog) -> None:
    counted, found = count_held(str(catalog.out)), status(str(catalog.out), reports=False)
    assert (counted.rows, counted.quarantined) == (found.rows, found.quarantined)
    assert counted.examples == found.examples
    assert counted.quarantine_share == found.quarantine_share


def test_a_count_reads_no_plan_of_a_finished_run_again(catalog: Catalog) -> None:
    first = catalog.plan()
    carry_out(first, {IDS[1]: "timeout", IDS[2]: "not_found"})
    assert_equal_to_status(catalog)
    Path(first.uri, "plan.parquet").write_bytes(b"not a plan any more")
    shutil.rmtree(Path(first.uri, "records"))
    counted = count_held(str(catalog.out))
    assert (counted.rows, dict(counted.quarantined)) == (1098, {"timeout": 1, "not_found": 1})


def test_what_was_counted_is_corrected_by_later_runs(catalog: Catalog) -> None:
    carry_out(catalog.plan(), {IDS[1]: "timeout", IDS[2]: "not_found", IDS[3]: "timeout"})
    assert_equal_to_status(catalog)
    carry_out(catalog.retry("timeout"), {IDS[3]: "not_an_image"})
    assert_equal_to_status(catalog)
    catalog.write("part-0", IDS, changed=[IDS[2], IDS[9]])
    carry_out(catalog.plan(), {IDS[9]: "timeout"})
    assert_equal_to_status(catalog)
    assert dict(count_held(str(catalog.out)).quarantined) == {"not_an_image": 1, "timeout": 1}


def test_a_run_that_finishes_after_a_later_one_counts_too(catalog: Catalog) -> None:
    early = catalog.plan()
    carry_out(early, {IDS[1]: "timeout"}, slice(0, 1))
    assert_equal_to_status(catalog)
    catalog.write("part-0", IDS, changed=[IDS[1], IDS[-1]])
    carry_out(catalog.plan(), {IDS[-1]: "not_found"})
    assert_equal_to_status(catalog)
    carry_out_new(early, {IDS[1]: "timeout", IDS[-1]: "timeout"}, slice(1, None))
    assert_equal_to_status(catalog)


@pytest.mark.parametrize("damage", ["deleted", "damaged", "of another format", "of another dataset"])
def test_a_stored_count_that_cannot_be_used_is_replaced(catalog: Catalog, tmp_path: Path, damage: str) -> None:
    carry_out(catalog.plan(), {IDS[1]: "timeout"})
    assert_equal_to_status(catalog)
    held = catalog.out / layout.HELD
    if damage == "deleted":
        held.unlink()
    elif damage == "damaged":
        held.write_bytes(b"PAR1")
    elif damage == "of another format":
        held.write_bytes(held.read_bytes().replace(b'"format": 1', b'"format": 9'))
    else:
        other = Catalog(tmp_path / "other")
        other.write("part-0", skus(300, "other"))
        carry_out(other.plan(), {"other-000001": "not_found"})
        count_held(str(other.out))
        shutil.copy(other.out / layout.HELD, held)
    assert_equal_to_status(catalog)


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
            assert_equal_to_status(catalog)
    assert_equal_to_status(catalog)


def carry_out_new(plan: Plan, failing: dict[str, str], shards: slice) -> None:
    """Carry out those of the shards that nobody has committed yet."""
    committed = plan.dataset.committed()
    for number, shard in enumerate(plan.shards[shards], shards.start or 0):
        if shard.shard_id not in committed:
            carry_out(plan, failing, slice(number, number + 1))
