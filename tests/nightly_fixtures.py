"""A shop whose catalog changes between nightly runs: real tables, real plans, real Parquet; vectors without a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from dataset_fixtures import FakeModel, carry_out

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.dataset import latest
from pipeline.plan.make import Plan, make_plan, new_run_id


class Shop:
    """A catalog table, and whole-catalog runs over it. `goods` is the etag of each id, as the table has it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.table, self.out = folder / "catalog.parquet", str(folder / "out")
        self.goods: dict[str, str] = {}

    def config(self, out: str = "", **source: object) -> RunConfig:
        told = {
            "uris": (str(self.table),),
            "id_column": "sku",
            "image_column": "url",
            "text_column": "title",
            "fingerprint_column": "etag",
            "whole_catalog": True,
        }
        return RunConfig(
            source=SourceConfig.model_validate({**told, **source}), output=OutputConfig(uri=out or self.out)
        )

    def stock(self, goods: Mapping[str, str]) -> None:
        """Replace the catalog."""
        self.goods = dict(goods)
        urls = [f"https://shop.example/{id_}.jpg" for id_ in goods]
        titles = [f"标题 {id_}" for id_ in goods]
        pq.write_table(pa.table({"sku": [*goods], "url": urls, "title": titles, "etag": [*goods.values()]}), self.table)

    def plan(self, out: str = "", **source: object) -> Plan:
        return make_plan(self.config(out, **source), FakeModel(), new_run_id(), 1)

    def night(self, goods: Mapping[str, str], failing: tuple[str, ...] = (), shards: slice = slice(None)) -> Plan:
        """Stock, plan, and carry out those `shards` of the plan; records `failing` go to quarantine."""
        self.stock(goods)
        plan = self.plan()
        carry_out(plan, dict.fromkeys(failing, "unreadable"), shards)
        return plan

    def told(self) -> list[dict[str, object]]:
        """All tombstones so far, oldest first."""
        files = sorted(Path(self.out, "_tombstones").glob("*.parquet"))
        return [row for file in files for row in pq.read_table(file).to_pylist()]


def skus(count: int) -> dict[str, str]:
    return {f"sku-{i:05d}": "A" for i in range(count)}


def states(out: str) -> dict[str, str]:
    """Etag of each current row; a row for each id, or it fails."""
    table = latest(out, ["id", "source_fingerprint"]).read_all()
    found = dict(zip(table["id"].to_pylist(), table["source_fingerprint"].to_pylist(), strict=True))
    assert len(found) == table.num_rows
    return {id_: fingerprint[0] for id_, fingerprint in found.items()}
