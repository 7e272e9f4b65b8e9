"""The sample that the page begins with: current rows from all over a dataset, one of each group of duplicates."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors.serving.application import searching
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.search.opened.conditions import HowToMatch
from pipeline.curation.search.opened.dataset import OpenDataset, open_dataset
from pipeline.dataset.dataset import Dataset
from pipeline.serving.search.sample import sample
from pipeline.serving.settings import SearchSettings
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.duplicates import DIM, EmbeddedCatalog, Picture, unit
from tests.fixtures.opened import opened_files
from tests.fixtures.serving import an_app, asking


def opened(dataset: Dataset) -> OpenDataset:
    return open_dataset(dataset, HowToMatch(60))


def ids(rows: list[dict[str, Any]]) -> list[str]:
    found = [str(row["id"]) for row in rows]
    assert len(found) == len(set(found))
    return found


@pytest.mark.parametrize("rows", [0, 1, 5, 30, 95, 1000, 3001])
def test_rows_come_from_all_over_the_dataset(tmp_path: Path, rows: int) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    for number, first in enumerate(range(0, rows, 700)):
        commit(dataset, number, some_records(min(700, rows - first), first=first))
    found = sample(opened(dataset))
    assert len(ids(found)) == min(rows, 24)
    assert sample(opened(dataset)) == found
    if rows >= 24:
        places = sorted(int(id_.removeprefix("item-")) for id_ in ids(found))
        assert max(np.diff([0, *places, rows])) <= rows / 12 + 2
    assert all(row["columns"] == {"text": f"红色连衣裙 {row['id']}"} for row in found)


def test_it_has_current_rows_and_one_of_a_group(tmp_path: Path) -> None:
    vectors = unit(np.random.default_rng(1).standard_normal((9, DIM)))
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({f"sku-{n}": Picture(vectors[min(n, 4)]) for n in range(8)})
    catalog.night({"sku-1": Picture(vectors[8], text="新")}, gone=["sku-0"], shards=1)
    before = ids(sample(opened(Dataset.open(catalog.out))))
    assert sorted(before) == [f"sku-{n}" for n in range(1, 8)]
    dedup(catalog.out, DedupSettings())
    found = {row["id"]: row["columns"]["text"] for row in sample(opened(Dataset.open(catalog.out)))}
    assert len(found.keys() & {"sku-4", "sku-5", "sku-6", "sku-7"}) == 1
    assert found.keys() >= {"sku-1", "sku-2", "sku-3"}
    assert found["sku-1"] == "新"


def test_the_server_chooses_it_once_for_each_state_also_of_texts_alone(tmp_path: Path) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False))
    commit(dataset, 1, some_records(3))
    app = an_app(more=(searching(dataset, SearchSettings(dataset=dataset.uri)),))

    async def work() -> None:
        async with asking(app) as client:
            first = (await client.get("/v1/sample")).json()
            assert first["object"] == "list"
            assert len(ids(first["data"])) == 3
            with opened_files(dataset.uri) as counts:
                assert (await client.get("/v1/sample")).json() == first
            assert counts.total() == 0

    asyncio.run(work())
