"""Test what a search can be asked for, against NumPy over vectors that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.search import groups
from pipeline.curation.search.index.build import build
from pipeline.curation.search.request import SearchQuery, SearchRequest
from pipeline.curation.search.run import SearchAnswer, search_dataset
from pipeline.dataset import layout
from pipeline.dataset.dataset import Dataset
from pipeline.errors import ConfigError, UsageError
from pipeline.report.search_page import write_search_page
from pipeline.validation import validated
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.duplicates import DIM, EmbeddedCatalog, Picture, unit
from tests.fixtures.pages import Page

#: Pictures of a clearly nearest crowd: more than what a first look at the hits holds.
_CROWD = 60


def goods_of() -> dict[str, Picture]:
    """A crowd of duplicates, 40 pictures ever less like it, of two vendors, and 20 elsewhere."""
    draw = np.random.default_rng(4)
    centre = unit(draw.standard_normal(DIM))
    away = np.stack([vector - (vector @ centre) * centre for vector in draw.standard_normal((60, DIM))])
    cosine = np.append(np.linspace(0.9, 0.5, 40), np.full(20, -0.3))[:, None]
    others = unit(cosine * centre + np.sqrt(1 - cosine**2) * unit(away))
    vectors = [*[centre] * _CROWD, *others]
    return {
        f"sku-{n:03d}": Picture(vector, extra={"vendor": "红" if n % 7 == 0 else "x"})
        for n, vector in enumerate(vectors)
    }


@pytest.fixture(scope="module")
def goods() -> dict[str, Picture]:
    return goods_of()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, goods: dict[str, Picture]) -> str:
    """The catalog, with a table of duplicates and an index that lacks its last night."""
    catalog = EmbeddedCatalog(tmp_path_factory.mktemp("search") / "out", pa.schema([("vendor", pa.string())]))
    catalog.night(dict(list(goods.items())[:110]))
    build(catalog.out, "ivf", "image_embedding")
    catalog.night(dict(list(goods.items())[110:]))
    dedup(catalog.out, DedupSettings())
    return catalog.out


def ask(out: str, *ids: str, without: tuple[str, ...] = (), **options: Any) -> SearchAnswer:
    named = [tuple(SearchQuery(kind="id", value=id_) for id_ in some) for some in (ids, without)]
    return search_dataset(out, SearchRequest(queries=named[0], without=named[1], **options))


def found(answer: SearchAnswer) -> list[str]:
    [hits] = answer.result.hits
    return [hit.id for hit in hits]


def nearest(goods: dict[str, Picture], query: np.ndarray, top: int, among: Iterator[str] | None = None) -> list[str]:
    ids = sorted(among or goods)
    cosines = {id_: round(float(goods[id_].vector.astype(np.float64) @ query), 6) for id_ in ids}
    return sorted(ids, key=lambda id_: (-cosines[id_], id_))[:top]


@pytest.mark.parametrize("exact", [True, False])
def test_a_condition_gives_the_nearest_among_the_rows_that_match(
    out: str, goods: dict[str, Picture], exact: bool
) -> None:
    matching = [id_ for id_ in goods if goods[id_].extra["vendor"] == "红" and id_ > "sku-059"]
    answer = ask(out, "sku-000", where="vendor = '红' AND id > 'sku-059' AND dedup_keep", top=8, exact=exact)
    assert found(answer) == nearest(goods, goods["sku-000"].vector, 8, iter(matching))
    assert answer.result.rows == len(matching)
    assert found(ask(out, "sku-000", where="id = 'none'", exact=exact)) == []
    with pytest.raises(UsageError, match=r"The rule where is wrong: there is no column seller"):
        ask(out, "sku-000", where="seller = 'x'", exact=exact)


@pytest.mark.parametrize(("exact", "most"), [(True, 4096), (False, 4096), (True, 40), (False, 40)])
def test_one_row_of_each_group_is_found_however_large_a_group_is(
    out: str, goods: dict[str, Picture], exact: bool, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_MOST", most)
    answer = ask(out, "sku-070", top=10, one_per_group=True, exact=exact)
    alone = [id_ for id_ in goods if id_ not in {f"sku-{n:03d}" for n in range(1, _CROWD)} | {"sku-070"}]
    assert found(answer) == nearest(goods, goods["sku-070"].vector, 10, iter(alone))
    crowd = answer.result.hits[0][0]
    assert (crowd.id, crowd.group_size, crowd.group is None) == ("sku-000", _CROWD, False)
    assert {hit.group_size for hit in answer.result.hits[0][1:]} == {1}
    some = ask(out, "sku-070", top=10, one_per_group=True, exact=exact, where="vendor = '红'")
    red = [id_ for id_ in alone if goods[id_].extra["vendor"] == "红"]
    assert found(some) == nearest(goods, goods["sku-070"].vector, 10, iter(red))
    assert len(set(found(ask(out, "sku-070", top=1000, one_per_group=True, exact=exact)))) == len(alone)


def test_a_name_that_the_source_and_a_table_share_is_refused_and_both_can_be_named(tmp_path: Path) -> None:
    catalog = EmbeddedCatalog(tmp_path / "out", pa.schema([("keep", pa.bool_())]))
    vector = unit(np.ones(DIM))
    catalog.night({f"{n}": Picture(vector, extra={"keep": n == 2}) for n in range(3)}, shards=1)
    assert found(ask(catalog.out, "0", where="keep")) == ["2"], "without a table there is one such column"
    dedup(catalog.out, DedupSettings(keep="first"))
    with pytest.raises(UsageError, match=r"(?s)keep is a column of your source and of a table.*rows\.keep.*dedup_keep"):
        ask(catalog.out, "0", where="keep")
    assert found(ask(catalog.out, "1", where="rows.keep")) == ["2"]
    assert found(ask(catalog.out, "1", where="dedup_keep")) == ["0"]


def test_rows_below_the_least_similarity_are_left_out(out: str, goods: dict[str, Picture]) -> None:
    answer = ask(out, "sku-000", min_similarity=0.6, top=1000)
    cosines = [hit.similarity for hit in answer.result.hits[0]]
    above = [id_ for id_, one in goods.items() if float(one.vector @ goods["sku-000"].vector) >= 0.6]
    assert sorted(found(answer)) == sorted(set(above) - {"sku-000"})
    assert min(cosines) >= 0.6


@pytest.mark.parametrize("exact", [True, False])
def test_queries_are_combined_and_others_subtracted(out: str, goods: dict[str, Picture], exact: bool) -> None:
    asked, minus = ["sku-060", "sku-118"], ["sku-070", "sku-071"]
    plus, less = (np.mean([goods[id_].vector for id_ in ids], axis=0) for ids in (asked, minus))
    rest = [id_ for id_ in goods if id_ not in {*asked, *minus}]
    both = ask(out, *asked, combine=True, top=5, exact=exact)
    assert found(both) == nearest(goods, unit(plus), 5, iter([*rest, *minus]))
    assert both.asked[0].value == "sku-060 + sku-118"
    less_like = ask(out, *asked, without=tuple(minus), combine=True, top=5, exact=exact)
    assert found(less_like) == nearest(goods, unit(plus - less), 5, iter(rest))
    separate = ask(out, *asked, without=tuple(minus), top=1, exact=exact)
    assert [query.value for query in separate.asked] == [f"{id_} - sku-070 - sku-071" for id_ in asked]
    with pytest.raises(UsageError, match="cancel each other out"):
        ask(out, "sku-060", without=("sku-060",))


def test_groups_of_a_missing_or_stale_table_are_refused_with_the_cure(
    tmp_path: Path, goods: dict[str, Picture]
) -> None:
    catalog = EmbeddedCatalog(tmp_path / "out")
    some = [(id_, Picture(one.vector)) for id_, one in goods.items()]
    catalog.night(dict(some[:20]))
    with pytest.raises(UsageError, match=f"has no table of duplicates: run `hanclip dedup {catalog.out}` first"):
        ask(catalog.out, "sku-000", one_per_group=True)
    dedup(catalog.out, DedupSettings())
    catalog.night({}, gone=["sku-005"], shards=0)
    [[hit]] = ask(catalog.out, "sku-000", one_per_group=True).result.hits
    assert hit.group_size == 19
    catalog.night(dict(some[18:23]))
    with pytest.raises(UsageError, match=r"is stale and lacks 5 of the 22 rows: run `hanclip dedup"):
        ask(catalog.out, "sku-000", one_per_group=True)


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-9], lambda data: data[:60] + bytes(len(data))]
)
def test_a_page_notes_a_damaged_table_of_duplicates_and_is_written(
    tmp_path: Path, goods: dict[str, Picture], damage: Callable[[bytes], bytes]
) -> None:
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({id_: Picture(one.vector) for id_, one in list(goods.items())[:4]}, shards=1)
    dedup(catalog.out, DedupSettings())
    table = Path(layout.dedup_uri(catalog.out))
    result = ask(catalog.out, "sku-000").result
    page = tmp_path / "page.html"
    assert len(write_search_page(catalog.out, [("id", "sku-000")], result, "images", page).hits[0]) == 1
    table.write_bytes(damage(table.read_bytes()))
    shown = write_search_page(catalog.out, [("id", "sku-000")], result, "images", page)
    assert shown.hits == result.hits
    assert "their table cannot be read" in shown.notes[0]
    assert "4 of 4 pictures could not be read again" in Page(page).texts["gaps"]


def test_the_side_that_exists_is_searched_and_another_is_refused_with_the_cure(tmp_path: Path) -> None:
    for name, lacks in (("texts", "has_images"), ("images", "has_texts")):
        dataset = Dataset.open_or_create(str(tmp_path / name), an_identity(**{lacks: False}))
        commit(dataset, 1, some_records(5))
        answer = ask(dataset.uri, "item-00001")
        assert (answer.side, answer.result.rows, len(found(answer))) == (name, 5, 4)
        other = {"texts": "images", "images": "texts"}[name]
        with pytest.raises(UsageError, match=f"had no {other}. It has {name}: write --in {name}, or leave --in out"):
            ask(dataset.uri, "item-00001", searched=other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": []}, "queries"),
        ({"queries": [{"kind": "text", "value": "\u200b"}]}, "empty, or no character of it can be seen"),
        ({"queries": [{"kind": "id", "value": "a"}], "time_limit_s": 3}, "give --where"),
        ({"queries": [{"kind": "id", "value": "a"}], "top": 0}, "top"),
    ],
)
def test_a_wrong_request_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(SearchRequest, wrong, "The search is not valid")
