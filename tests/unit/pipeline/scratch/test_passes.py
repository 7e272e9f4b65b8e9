"""Joins of more ids than fit into memory, and planning, verifying and reading in several passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset.checks.verify import verify
from pipeline.errors import RunError
from pipeline.scratch.passes import IdPasses
from pipeline.scratch.workspace import Workspace
from tests.fixtures.nights import Shop, skus, states


def test_a_join_of_more_ids_than_fit_into_memory_takes_several_passes() -> None:
    rows, keys = 1_000_000, "id, fingerprint"
    join = f"SELECT count(*), sum(outcomes.place) FROM listing JOIN outcomes USING ({keys})"
    with Workspace(memory_mb=24) as work:
        for table in ("listing", "outcomes"):
            work.execute(
                f"CREATE VIEW {table} AS "
                f"SELECT 'item-' || range AS id, md5(range::VARCHAR) AS fingerprint, range AS place FROM range({rows})"
            )
        with pytest.raises(RunError, match="Out of Memory"):
            work.rows(join)
        with IdPasses(work, rows, {"listing": keys, "outcomes": f"{keys}, place"}) as passes:
            assert passes.totals(join) == (rows, rows * (rows - 1) // 2)
        assert not list(work.folder.glob("*.parquet"))


def test_a_history_in_many_passes_is_the_same_as_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = history(Shop(tmp_path / "one"))
    monkeypatch.setattr("pipeline.scratch.workspace._ROWS_PER_MB", 1)
    assert history(Shop(tmp_path / "many")) == at_once


def history(shop: Shop) -> list[Any]:
    """What nights with failures, changes, unfinished shards, vanished and returned ids plan, keep and count."""
    goods = skus(1500)
    some = dict.fromkeys([*goods][::3], "A")
    changed = {**goods, **dict.fromkeys([*goods][::7], "B")}
    plans = [
        shop.night(goods, failing=tuple([*goods][:5]), shards=slice(1)),
        shop.night(changed, shards=slice(2)),
        shop.night(changed),
    ]
    shop.stock(some)
    plans += [shop.plan(max_vanished=1.0), shop.night(goods)]
    report = verify(shop.out)
    facts = [[(shard.shard_id, shard.rows, shard.attempts) for shard in plan.shards] for plan in plans]
    gone = [plan.rows_vanished for plan in plans]
    stones = [(row["id"], row["source_fingerprint"], row["gone"]) for row in shop.tombstones()]
    counts = (report.planned, report.embedded, report.quarantined, report.missing, report.replaced, report.abandoned)
    return [facts, gone, stones, counts, report.problems, states(shop.out)]
