"""A dataset that is kept open: the hits of an exact search, and a repeated request reads nothing of it again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.search.exact import Hit, NoSuchRowError
from pipeline.curation.search.index.build import build
from pipeline.curation.search.index.files import read_facts
from pipeline.curation.search.opened import places
from pipeline.curation.search.opened.conditions import HowToMatch
from pipeline.curation.search.opened.dataset import OpenDataset, open_dataset
from pipeline.curation.search.request import SearchRequest, WantedRows
from pipeline.curation.search.run import search_dataset, search_vectors
from pipeline.curation.vectors import IMAGE, Vectors
from pipeline.errors import UsageError
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import IndexKind
from tests.fixtures.duplicates import EmbeddedCatalog, pictures
from tests.fixtures.opened import opened_files

QUERY = "sku-005"
#: Some rows, all, none, and only rows that are not in the index.
CONDITIONS = ("image_width % 9 = 0", "true", "id = 'none'", "id > 'sku-119'")


@pytest.fixture(scope="module", params=[None, "ivf", "hnsw"])
def catalog(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedCatalog:
    """150 rows with duplicates; since an index was made, 30 of them came, two changed, and one went."""
    made = EmbeddedCatalog(tmp_path_factory.mktemp("opened") / "out")
    goods = {f"sku-{n:03}": one for n, one in enumerate(pictures(153, seed=5))}
    changed = {f"sku-{n:03}": goods.pop(f"sku-{n + 143:03}") for n in (7, 8)}
    made.night({id_: one for id_, one in goods.items() if id_ < "sku-120"})
    kind: IndexKind | None = request.param
    if kind:
        build(made.out, kind, IMAGE)
    made.night({id_: one for id_, one in goods.items() if id_ >= "sku-120"} | changed, gone=["sku-009"])
    dedup(made.out, DedupSettings())
    return made


def hits(opened: OpenDataset, wanted: WantedRows) -> list[tuple[object, ...]]:
    return search(opened, wanted, opened.rows.vectors_of([QUERY], IMAGE))


def search(opened: OpenDataset, wanted: WantedRows, query: Vectors) -> list[tuple[object, ...]]:
    found = search_vectors(opened.dataset, wanted, query, IMAGE, [frozenset([QUERY])], opened.columns[IMAGE])
    return shown(found.hits[0])


def exact_hits(out: str, wanted: WantedRows) -> list[tuple[object, ...]]:
    request = SearchRequest(
        **wanted.model_dump(exclude_unset=True) | {"queries": [{"kind": "id", "value": QUERY}], "exact": True}
    )
    return shown(search_dataset(out, request).result.hits[0])


def shown(found: list[Hit]) -> list[tuple[object, ...]]:
    return [(hit.id, hit.source_fingerprint, round(hit.similarity, 4), hit.group, hit.group_size) for hit in found]


def test_hits_are_those_of_an_exact_search_and_are_found_again_without_reading(catalog: EmbeddedCatalog) -> None:
    opened, facts = open_dataset(catalog.dataset, HowToMatch(60)), read_facts(catalog.out, IMAGE)
    wanted = [
        WantedRows(top=20),
        *(WantedRows(top=20, where=where, one_per_group=True) for where in (None, *CONDITIONS)),
    ]
    found = [hits(opened, one) for one in wanted]
    assert found == [exact_hits(catalog.out, one) for one in wanted]
    assert [one.where for one, some in zip(wanted, found, strict=True) if not some] == ["id = 'none'"]
    if facts and facts.kind == "hnsw":
        return  # it has no search of some rows, so their vectors are read
    query = opened.rows.vectors_of([QUERY], IMAGE)
    with opened_files(catalog.out) as read:
        again = [search(opened, one, query) for one in wanted]
    assert again == found
    assert not read


def test_what_a_query_finds_depends_on_no_query_beside_it(catalog: EmbeddedCatalog) -> None:
    opened = open_dataset(catalog.dataset, HowToMatch(60))
    queries = opened.rows.vectors_of([f"sku-{n:03}" for n in range(10, 140, 8)], IMAGE)
    search_all = opened.columns[IMAGE].all
    assert search_all
    together = search_all(queries, 3, ()).hits
    alone = [search_all(queries[n : n + 1], 3, ()).hits[0] for n in range(len(queries))]
    assert [shown(one) for one in together] == [shown(one) for one in alone]


def test_searches_of_groups_wait_for_no_other_search(catalog: EmbeddedCatalog) -> None:
    opened, wanted = open_dataset(catalog.dataset, HowToMatch(60)), WantedRows(top=20, one_per_group=True)
    with opened.rows.groups(), ThreadPoolExecutor(4) as threads:
        found = [threads.submit(hits, opened, wanted) for _ in range(8)]
        assert [one.result(60) for one in found] == [exact_hits(catalog.out, wanted)] * 8


def test_what_other_commands_replace_is_noticed(tmp_path: Path) -> None:
    made = EmbeddedCatalog(tmp_path / "out")
    made.night({f"sku-{n:03}": one for n, one in enumerate(pictures(12, seed=1, near=0.5))})
    opened, wanted = open_dataset(made.dataset, HowToMatch(0)), WantedRows(one_per_group=True, where="dedup_keep")
    with pytest.raises(UsageError):
        hits(opened, wanted)
    counts = []
    for cosine in (0.9999, 0.5):
        dedup(made.out, DedupSettings(image_cosine=cosine, reconsider=True))
        counts.append(len(hits(opened, wanted)))
    assert counts[0] > counts[1]


def test_columns_and_vectors_of_rows_by_their_ids(catalog: EmbeddedCatalog) -> None:
    rows = open_dataset(catalog.dataset, HowToMatch(60)).rows
    ids = ["sku-149", "sku-007", "sku-009", "none"]
    found = rows.columns_of(ids, ["image_width", "run_date"])
    assert {id_: row["run_date"] for id_, row in found.items()} == dict.fromkeys(["sku-007", "sku-149"], "2026-11-21")
    [one, other] = rows.vectors_of(["sku-149", "sku-007"], IMAGE)
    np.testing.assert_array_equal(rows.vectors_of(["sku-007", "sku-149"], IMAGE), [other, one])
    with pytest.raises(NoSuchRowError, match="sku-009"):
        rows.vectors_of(["sku-149", "sku-009"], IMAGE)


def test_rows_that_meet_a_condition_stay_while_it_is_evaluated_again(tmp_path: Path) -> None:
    made = EmbeddedCatalog(tmp_path / "out")
    made.night({f"sku-{n:03}": one for n, one in enumerate(pictures(12, seed=1))})
    column, wanted = open_dataset(made.dataset, HowToMatch(0)).columns[IMAGE], WantedRows(where="image_width > 0")
    with column.matching(wanted) as matching:
        with column.matching(wanted):
            pass
        assert pq.read_table(matching.keys).num_rows == 12


def test_places_of_ids_in_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_BATCH_ROWS", 7)
    ids = [f"{start}{n}" for start in ("", "Ä", "衣服/", "😀", "sku-") for n in range(40)]
    with Workspace() as work:
        work.register("rows", pa.table({"id": ids, "place": range(0, 3 * len(ids), 3)}))
        found = places.PlacesById(work)
    for asked in (ids[::-9], ["😀7", "none", "衣服/3", "衣服/3"], ["", "~", "衣服/", "😀😀"], []):
        assert found.of(asked).tolist() == sorted({3 * ids.index(id_) for id_ in asked if id_ in ids})
