"""Test commands over a compacted dataset, and readers whose file is deleted under them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.compaction.in_place import compact_in_place
from pipeline.compaction.settings import CompactSettings
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.export.contract import ExportRequest
from pipeline.curation.export.options import ExportOptions
from pipeline.curation.export.registry import exporter
from pipeline.curation.filter.run import filter_rows
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.search.index.build import build
from pipeline.curation.search.index.search import search_index
from pipeline.curation.similarity.query import stored
from pipeline.curation.vectors import IMAGE
from pipeline.dataset import Dataset, latest
from pipeline.dataset.checks.status import status
from pipeline.dataset.shard_file import read_footers
from pipeline.errors import RunError
from pipeline.phases import ignore
from pipeline.report.material import Material
from pipeline.report.sections.counts import counts
from pipeline.report.sections.duplicates import duplicates
from pipeline.report.sections.kept import kept
from pipeline.report.sections.quarantine import quarantine
from pipeline.scratch.workspace import Workspace
from tests.fixtures.datasets import DIM, unit_vectors
from tests.fixtures.nights import Shop

NOW = CompactSettings(leave_days=0, grace_hours=0)


def by_id(uri: str) -> list[dict[str, Any]]:
    return pq.read_table(uri).sort_by("id").to_pylist()


def found(out: str) -> list[tuple[str | None, float]]:
    """What the index finds; nothing in this dataset is too old for it."""
    result = search_index(out, unit_vectors(["a query"], DIM, "text"), 5)
    assert result is not None
    return [(hit.id, round(hit.similarity, 6)) for hit in result.hits[0]]


def exported(out: str) -> list[tuple[dict[str, Any], list[float]]]:
    """The vector of each row of metadata, by id."""
    exporter("npy")(ExportRequest(out, f"{out}-npy", ExportOptions()))
    metadata = pq.read_table(f"{out}-npy/metadata").to_pylist()
    vectors = np.load(f"{out}-npy/img_emb/img_emb_0000.npy").tolist()
    return sorted(zip(metadata, vectors, strict=True), key=lambda pair: str(pair[0]["id"]))


def reported(out: str) -> list[Any]:
    with Material(out, ignore) as material:
        counted = counts(material)
        return [counted.total, quarantine(material, counted.status), duplicates(material), kept(material)]


def results(out: str) -> dict[str, Any]:
    """What each command says of the dataset, apart from the number and the sizes of its files."""
    dedup(out, DedupSettings())
    filtered = filter_rows(out, FilterSettings(where="similarity >= 0 AND keep"), ignore)
    state = asdict(status(out))
    return {
        "dedup": by_id(f"{out}/dedup/dedup.parquet"),
        "filter": (filtered.to_json(), by_id(f"{out}/filter/default/kept.parquet")),
        "search": found(out),
        "export": exported(out),
        "report": reported(out),
        "status": {name: state[name] for name in ("rows", "quarantined", "examples", "runs")},
    }


def test_commands_give_the_same_results_over_a_compacted_dataset(shop: Shop) -> None:
    build(shop.out, "flat", IMAGE)
    before = results(shop.out)
    for _ in range(2):
        compact_in_place(shop.out, NOW)
    assert len(Dataset.open(shop.out).files()) == 1
    after = results(shop.out)
    for command, result in before.items():
        assert after[command] == result, command
    build(shop.out, "flat", IMAGE)
    assert found(shop.out) == before["search"]


def _footers(dataset: Dataset, _: Workspace) -> Callable[[], object]:
    files = dataset.files()
    return lambda: read_footers(files)


def _query(dataset: Dataset, work: Workspace) -> Callable[[], object]:
    work.register("failed", dataset.quarantine(["id"]))
    return lambda: work.rows("SELECT count(id) FROM failed")


def _latest(dataset: Dataset, _: Workspace) -> Callable[[], object]:
    return latest(dataset.uri).read_all


@pytest.mark.parametrize("reader", [_footers, _query, _latest])
def test_a_reader_whose_file_is_deleted_says_to_run_again(
    reader: Callable[[Dataset, Workspace], Callable[[], object]], shop: Shop
) -> None:
    """The reader has listed the files, and reads them after they were replaced and deleted."""
    with Workspace() as work:
        read = reader(Dataset.open(shop.out), work)
        for _ in range(2):
            compact_in_place(shop.out, NOW)
        with pytest.raises(RunError, match=r"(?i)compaction .*run the same command again"):
            read()


def test_a_query_whose_file_is_deleted_says_to_run_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, of the vector of one record: its files are listed and read in one call."""
    rows = Dataset.embeddings

    def late(dataset: Dataset, columns: list[str]) -> object:
        listed = rows(dataset, columns)
        for file in dataset.files():
            Path(file.uri).unlink()
        return listed

    monkeypatch.setattr(Dataset, "embeddings", late)
    with pytest.raises(RunError, match=r"compaction .* Run the same command again"):
        stored(Dataset.open(shop.out), "sku-00000", "A", IMAGE)
