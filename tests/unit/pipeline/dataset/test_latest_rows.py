"""The latest row of each id, from `latest` and from the documented SQL statement, after runs of every kind."""

from __future__ import annotations

import random
import re
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipeline.dataset import Dataset, latest
from pipeline.dataset.latest_rows import count
from pipeline.dataset.plan_files import read_records
from pipeline.dataset.schema import QUARANTINE
from tests.fixtures.datasets import carry_out, embedded_rows, provenance, quarantined_rows
from tests.fixtures.nights import Shop, skus, states
from tests.fixtures.places import ROOT

DOC = (ROOT / "docs" / "data-format.md").read_text(encoding="utf-8")
[STATEMENT] = [sql for sql in re.findall(r"```sql\n(.*?)```", DOC, re.DOTALL) if "newest" in sql]


def by_statement(out: str, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    monkeypatch.chdir(Path(out).parent)
    return duckdb.sql(STATEMENT).to_arrow_table()


def assert_sql_agrees(out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, by_sql = latest(out).read_all(), by_statement(out, monkeypatch)
    assert rows.num_rows == count(out)
    columns = ["id", "source_fingerprint", "image_embedding", "run_date"]
    assert rows.select(columns).sort_by("id").to_pylist() == by_sql.select(columns).sort_by("id").to_pylist()


class Nights:
    """Random runs over one shop, and the expected latest state after each completed run."""

    def __init__(self, shop: Shop, seed: int) -> None:
        self.shop, self.random = shop, random.Random(seed)
        self.failed: dict[tuple[str, str], bool] = {}

    def run_once(self, shards: slice = slice(None)) -> None:
        goods = {id_: self.random.choice("AAAB") for id_ in skus(700) if self.random.random() < 0.9}
        kept = {id_: etag for id_, etag in self.shop.goods.items() if self.random.random() < 0.9}
        goods |= kept if self.random.random() < 0.8 else {}
        failing = tuple(id_ for id_ in goods if self.random.random() < 0.05)
        self.shop.stock(goods)
        plan = self.shop.plan(max_vanished=1.0)
        carry_out(plan, dict.fromkeys(failing, "unreadable"), shards)
        for shard in plan.shards[shards]:
            for record in read_records(shard):
                self.failed.setdefault((record.id, record.source_fingerprint[0]), record.id in failing)

    def expected(self) -> dict[str, str]:
        return {id_: etag for id_, etag in self.shop.goods.items() if not self.failed[id_, etag]}


@pytest.mark.parametrize("seed", range(3))
def test_latest_rows_equal_the_catalog_after_random_runs(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nights = Nights(Shop(tmp_path), seed)
    for _ in range(4):
        nights.run_once()
        assert states(nights.shop.out) == nights.expected()
        nights.run_once(slice(0, 1))
        assert_sql_agrees(nights.shop.out, monkeypatch)
    nights.run_once()
    assert states(nights.shop.out) == nights.expected()
    assert_sql_agrees(nights.shop.out, monkeypatch)


def test_an_uncommitted_change_keeps_the_previous_row(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.night(skus(10))
    shop.night(skus(10) | {"sku-00001": "B"}, shards=slice(0))
    assert states(shop.out) == skus(10)


def test_an_id_with_a_failed_latest_image_has_no_row(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.night(skus(10))
    shop.night(skus(10) | {"sku-00001": "B"}, failing=("sku-00001",))
    assert "sku-00001" not in states(shop.out)
    shop.night(skus(10))
    assert states(shop.out) == skus(10)


def test_a_duplicate_record_is_one_row_and_survives_a_later_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(tmp_path)
    records = [record for shard in shop.night(skus(10)).shards for record in read_records(shard)]
    dataset = Dataset.open(shop.out)
    again, quarantined = embedded_rows(records[:4], dataset.identity), quarantined_rows(records[4:6])
    dataset.write_shard("f" * 32, "2026-11-21", again, quarantined, provenance(6, "99991231"))
    assert states(shop.out) == skus(10)
    assert_sql_agrees(shop.out, monkeypatch)


def test_quarantine_of_a_losing_writer_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(tmp_path)
    plan = shop.night(skus(10))
    [shard] = plan.shards
    folder = Path(shop.out, "_quarantine", f"run_date={plan.run_date}")
    folder.mkdir(parents=True)
    quarantined = quarantined_rows(read_records(shard)[:3])
    pa.parquet.write_table(quarantined, folder / f"{shard.shard_id}-00000000.parquet")
    assert states(shop.out) == skus(10)
    assert_sql_agrees(shop.out, monkeypatch)


def test_only_the_requested_columns_are_returned(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.night(skus(10), failing=tuple(skus(3)))
    reader = latest(shop.out, ["similarity"])
    assert reader.schema.names == ["similarity", "run_date"]
    assert reader.read_all().num_rows == 7
    assert latest(shop.out).schema.remove_metadata() == Dataset.open(shop.out).embeddings().schema


def test_an_empty_dataset_has_no_rows(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.stock(skus(3))
    shop.plan()
    assert latest(shop.out).read_all().num_rows == count(shop.out) == 0


def test_the_age_of_a_row_is_that_of_the_run_that_planned_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard of an earlier plan stays older than a later plan, even if a later run commits it."""
    shop = Shop(tmp_path)
    old = shop.night(skus(1), shards=slice(0))
    shop.night({"sku-00000": "B"})
    [record] = read_records(old.shards[0])
    dataset = Dataset.open(shop.out)
    table = embedded_rows([record], dataset.identity)
    dataset.write_shard("e" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(1, old.run_id))
    assert states(shop.out) == {"sku-00000": "B"}
    assert_sql_agrees(shop.out, monkeypatch)
