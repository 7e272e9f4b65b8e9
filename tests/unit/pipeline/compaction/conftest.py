"""One shop for the tests of compaction, which each get a copy of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.nights import Shop, skus


@pytest.fixture(scope="session")
def six_nights(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Six nights with changes, failures, ids that go and come back, and a shard that is pending; each has its date."""
    shop = Shop(tmp_path_factory.mktemp("six-nights"))
    goods = skus(60)
    shop.night(goods, failing=("sku-00003", "sku-00004"), run_date="2026-11-01")
    changed = goods | {"sku-00001": "B", "sku-00002": "B"}
    shop.night(changed, failing=("sku-00002",), run_date="2026-11-02")
    goods["sku-00004"] = "B"
    shop.night({id_: etag for id_, etag in goods.items() if id_ != "sku-00005"}, run_date="2026-11-03")
    shop.night(goods | {"new-1": "A"}, run_date="2026-11-04")
    shop.night(goods | {"new-1": "A", "sku-00006": "C"}, shards=slice(0), run_date="2026-11-05")
    shop.night(goods | {"new-1": "A", "new-2": "A", "sku-00006": "D"}, run_date="2026-11-06")
    return shop


@pytest.fixture
def shop(six_nights: Shop, tmp_path: Path) -> Shop:
    """A copy of the six nights."""
    return six_nights.copy(tmp_path)
