"""Cutting records into shards: none lost, size limits kept, and an insertion changes only nearby shards."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.identity import Identity
from pipeline.plan.cutting import MAX_ROWS, MIN_ROWS, Bounds, Cutter, even_starts, plan_rows, target_rows
from tests.fixtures.datasets import an_identity

BOUNDS = Bounds.around(512)


def shards_of(ids: list[str], containers: list[str | None] | None = None, batch: int = 1000) -> list[list[str]]:
    containers = containers or [None] * len(ids)
    tars = {name: containers.count(name) for name in set(containers) if name and ".t" in name}
    cutter = Cutter(BOUNDS, tars, lambda tar: tar.endswith("gz"))
    starts: list[bool] = []
    for at in range(0, len(ids), batch):
        starts += cutter.starts(ids[at : at + batch], containers[at : at + batch])
    shards: list[list[str]] = []
    for id_, opens in zip(ids, starts, strict=True):
        if opens:
            shards.append([])
        shards[-1].append(id_)
    return shards


def some_ids(seed: int, count: int) -> list[str]:
    return [f"{seed}-{i:06d}" for i in range(count)]


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 12_000))
def test_every_record_is_in_one_shard_in_order_and_within_bounds(seed: int, count: int) -> None:
    ids = some_ids(seed, count)
    shards = shards_of(ids)
    assert [id_ for shard in shards for id_ in shard] == ids
    assert all(BOUNDS.min_rows <= len(shard) <= BOUNDS.max_rows for shard in shards[:-1])
    assert len(shards[-1]) <= BOUNDS.max_rows


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 3000))
def test_cuts_do_not_depend_on_the_batch_size(seed: int, batch: int) -> None:
    ids = some_ids(seed, 6000)
    assert shards_of(ids, batch=batch) == shards_of(ids, batch=len(ids))


@settings(max_examples=25, derandomize=True)
@given(st.integers(0, 10**6), st.integers(0, 19_999), st.integers(1, 50))
def test_inserted_records_change_only_nearby_shards(seed: int, at: int, count: int) -> None:
    ids = some_ids(seed, 20_000)
    before = {tuple(shard) for shard in shards_of(ids)}
    after = shards_of(ids[:at] + [f"new-{seed}-{i}" for i in range(count)] + ids[at:])
    changed = [index for index, shard in enumerate(after) if tuple(shard) not in before]
    assert 1 <= len(changed) <= 12
    assert changed[-1] - changed[0] < 12


def test_a_record_inserted_first_leaves_distant_shards_unchanged() -> None:
    ids = some_ids(1, 20_000)
    before, after = shards_of(ids), shards_of(["new", *ids])
    assert after[8:] == before[-len(after[8:]) :]


def test_the_mean_size_is_close_to_the_target() -> None:
    shards = shards_of(some_ids(7, 60_000))
    assert 400 < 60_000 / len(shards) < 640


def test_a_tar_is_one_shard_and_shards_never_cross_tars() -> None:
    ids = some_ids(3, 900)
    containers = ["a.tar"] * 100 + ["b.tar"] * 700 + [None] * 50 + ["c.parquet"] * 50
    assert [len(shard) for shard in shards_of(ids, [*containers])] == [100, 700, 100]


def test_a_large_tar_is_split_evenly_with_a_higher_limit_if_compressed() -> None:
    ids = some_ids(4, 5000)
    assert [len(shard) for shard in shards_of(ids, ["a.tar"] * 5000)] == [1667, 1667, 1666]
    assert [len(shard) for shard in shards_of(ids, ["a.tgz"] * 5000)] == [5000]
    many = some_ids(5, MAX_ROWS + 1)
    assert [len(shard) for shard in shards_of(many, ["a.tar.gz"] * len(many))] == [4097, 4096]


@given(st.integers(1, 50_000), st.integers(1, 9000))
def test_an_even_split_has_the_fewest_pieces_and_sizes_within_one(rows: int, limit: int) -> None:
    starts = [row for row, opens in enumerate(even_starts(rows, limit)) if opens]
    sizes = [stop - start for start, stop in pairwise([*starts, rows])]
    assert starts[0] == 0
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= limit
    assert len(sizes) == -(-rows // limit)


@pytest.mark.parametrize(
    ("rows", "workers", "expected"),
    [(10, 4, 512), (8192, 4, 512), (16_384, 4, 1024), (32_768, 4, 2048), (10**9, 64, 4096), (5000, 0, 1024)],
)
def test_target_gives_each_worker_four_shards(rows: int, workers: int, expected: int) -> None:
    assert target_rows(rows, workers) == expected


@pytest.mark.parametrize(
    ("stored", "by_user", "now", "rows", "expected"),
    [
        (512, False, None, 100, 512),
        (512, False, None, 10**6, 4096),
        (4096, False, None, 100, 4096),
        (512, True, None, 10**6, 512),
        (300, False, None, 10**6, 300),
        (512, True, 1000, 10**6, 1000),
        (4096, False, 512, 10**6, 512),
    ],
    ids=[
        "little work",
        "grows",
        "never shrinks",
        "user's",
        "user's of an earlier version",
        "chosen now",
        "smaller now",
    ],
)
def test_a_plans_target_grows_with_its_work_unless_the_user_chose_it(
    stored: int, by_user: bool, now: int | None, rows: int, expected: int
) -> None:
    identity = Identity.from_json(an_identity(shard_rows=stored, shard_rows_chosen=by_user).to_json(), "out")
    assert plan_rows(identity, now, rows, 16) == expected


@pytest.mark.parametrize("target", [256, 512, 1000, 4096, 8192])
def test_bounds_stay_within_the_limits(target: int) -> None:
    bounds = Bounds.around(target)
    assert MIN_ROWS <= bounds.min_rows < bounds.max_rows <= MAX_ROWS
    assert bounds.one_in >= 1
