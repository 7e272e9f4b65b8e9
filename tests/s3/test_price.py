"""What a dry run says of a bucket: requests, bytes and hours, and their price."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.facts.dry_run import _price, _work
from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.cost.prices import PriceTable, price, read_prices
from pipeline.cost.work import Rates, work_of
from pipeline.errors import ConfigError
from pipeline.plan.draft import Plan
from pipeline.plan.make import dry_plan
from tests.fixtures.datasets import DIM, FakeModel
from tests.fixtures.places import ROOT
from tests.fixtures.servers.odd_bucket import OddBucket, serving

UNKNOWN = Rates(None, 0.0, None, "no earlier run of this dataset")


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """1,100 images of a byte and 600 texts of three in a bucket, to be written there."""
    images = {f"in/{number:04}.jpg": b"x" for number in range(1100)}
    texts = {f"in/{number:04}.txt": b"abc" for number in range(600)}
    with serving(OddBucket(images | texts), monkeypatch) as bucket:
        config = RunConfig(
            source=SourceConfig(uris=(f"{bucket.address}/in",)), output=OutputConfig(uri=f"{bucket.address}/out")
        )
        return dry_plan(config, FakeModel(), 1)


def test_requests_bytes_and_hours_of_a_folder_in_a_bucket(plan: Plan) -> None:
    work = work_of(plan, Rates(3.6, 1.8, 10.0, "measured"))
    assert (work.gets, work.lists, work.puts) == (1700, 2 + 3, len(plan.shards) + 5)
    assert (work.read_bytes, work.written_bytes) == (1100 + 3 * 600, 11_000)
    assert (work.core_hours, work.gpu_hours) == (pytest.approx(1.1), pytest.approx(0.55))
    first = work_of(plan, UNKNOWN)
    assert (first.written_bytes, first.core_hours, first.gpu_hours) == (1100 * 2 * DIM * 4, None, 0.0)


def test_a_price_adds_up_and_names_what_it_leaves_out(plan: Plan) -> None:
    prices = PriceTable(currency="CNY", get_per_1000=2, put_per_1000=1000, core_hour=10, stored_per_gb_month=1e6)
    work = work_of(plan, Rates(3.6, 0.0, 10.0, "measured"))
    found = price(work, prices)
    assert found.parts == {"GET": pytest.approx(3.4), "PUT": work.puts, "cores": pytest.approx(11)}
    assert (found.total, found.monthly) == (pytest.approx(14.4 + work.puts), pytest.approx(11))
    assert found.left_out == ("LIST", "traffic")
    shown = _price(found)
    assert shown.startswith(f"about {14.4 + work.puts:,.2f} CNY = 3.40 GET + {work.puts:,.2f} PUT + 11.00 cores")
    assert shown.endswith("; then 11.00 a month for storage; without LIST, traffic, of unknown price or amount")
    assert price(work_of(plan, UNKNOWN), prices).left_out == ("LIST", "traffic", "cores")
    assert dict(_work(work))["compute"] == "1.1 core-hours (measured)"
    assert dict(_work(work_of(plan, UNKNOWN)))["compute"] == "core-hours unknown (no earlier run of this dataset)"


def test_a_table_of_prices_is_checked_key_by_key(tmp_path: Path) -> None:
    assert read_prices(ROOT / "infra/prices.example.yaml").currency == "USD"
    file = tmp_path / "prices.yaml"
    file.write_text("get_per_1000: -1\ngpu_hours: 3\n")
    with pytest.raises(ConfigError) as caught:
        read_prices(file)
    message = str(caught.value)
    assert all(part in message for part in ("prices.yaml, line 1: get_per_1000", "line 2: gpu_hours", "currency"))
