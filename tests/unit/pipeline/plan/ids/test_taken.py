"""Test that a second source does not replace the records of the first, unless that is meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.errors import SourceError
from pipeline.plan.make import dry_plan, make_plan
from pipeline.plan.run_ids import new_run_id
from tests.fixtures.datasets import FakeModel, carry_out
from tests.fixtures.nights import states


def embed(folder: Path, name: str, goods: Mapping[str, str], **options: object) -> None:
    """Write `goods`, etags by id, as the table `name` and embed it; refused before anything is written."""
    table = folder / f"{name}.csv"
    table.write_text("sku,etag,title\n" + "".join(f"{id_},{etag},标题\n" for id_, etag in goods.items()))
    columns = {"id_column": "sku", "fingerprint_column": "etag", "text_column": "title", "format": "table"}
    source = SourceConfig.model_validate({"uris": (str(table),), **columns, **options})
    config = RunConfig(source=source, output=OutputConfig(uri=str(folder / "out")))
    dry_plan(config, FakeModel(), 1)
    carry_out(make_plan(config, FakeModel(), new_run_id(), 1))


def kept(folder: Path) -> dict[str, str]:
    return states(str(folder / "out"))


ONE = {"1": "a", "2": "a", "3": "a"}


def test_a_second_source_with_the_ids_of_the_first_is_refused_with_its_cures(tmp_path: Path) -> None:
    embed(tmp_path, "shop", ONE)
    before = sorted(tmp_path.rglob("out/**/*"))
    with pytest.raises(SourceError) as refused:
        embed(tmp_path, "market", {"2": "b", "3": "b", "4": "b"})
    for part in ("2 of the 3 ids", "shop.csv", "for example '2'", "--id-prefix NAME/", "--same-records"):
        assert part in str(refused.value)
    assert sorted(tmp_path.rglob("out/**/*")) == before
    embed(tmp_path, "market", {"2": "b", "3": "b", "4": "b"}, id_prefix="market/")
    assert kept(tmp_path) == ONE | {"market/2": "b", "market/3": "b", "market/4": "b"}
    with pytest.raises(SourceError, match="2 of the 3 ids"):  # without the prefix it is another source again
        embed(tmp_path, "market", {"2": "c", "3": "c", "4": "c"})


@pytest.mark.parametrize(
    ("name", "goods", "options"),
    [
        ("shop", {"2": "b"}, {}),
        ("market", {"4": "b"}, {}),
        ("market", {"2": "a"}, {}),
        ("market", {"2": "b"}, {"same_records": True}),
    ],
    ids=["the source itself", "other ids", "the same states", "as asked for"],
)
def test_a_source_that_replaces_nothing_unasked_is_not_refused(
    tmp_path: Path, name: str, goods: dict[str, str], options: dict[str, object]
) -> None:
    embed(tmp_path, "shop", ONE)
    embed(tmp_path, name, goods, **options)
    assert kept(tmp_path) == ONE | goods
    embed(tmp_path, name, {id_: f"{etag}c" for id_, etag in goods.items()}, **options)


def test_days_of_one_source_are_one_source_and_so_are_several_addresses(tmp_path: Path) -> None:
    embed(tmp_path, "shop-2026-11-20", ONE)
    embed(tmp_path, "shop-2026-11-21", {"2": "b"})
    assert kept(tmp_path) == ONE | {"2": "b"}
    (tmp_path / "more.csv").write_text("sku,etag,title\n5,d,标题\n")
    both = tuple(str(tmp_path / f"{name}.csv") for name in ("shop-2026-11-22", "more"))
    embed(tmp_path, "shop-2026-11-22", {"2": "c"}, uris=both)
    assert kept(tmp_path) == ONE | {"2": "c", "5": "d"}


def test_a_whole_catalog_with_a_prefix_says_nothing_about_other_sources(tmp_path: Path) -> None:
    embed(tmp_path, "shop", ONE)
    embed(tmp_path, "market", {"1": "b", "2": "b"}, id_prefix="m/", whole_catalog=True)
    embed(tmp_path, "market", {"2": "b"}, id_prefix="m/", whole_catalog=True)
    assert kept(tmp_path) == ONE | {"m/2": "b"}


def test_a_whole_catalog_is_refused_beside_sources_that_it_would_mark_as_gone(tmp_path: Path) -> None:
    embed(tmp_path, "shop", ONE, whole_catalog=True)
    embed(tmp_path, "market", {"1": "b"}, id_prefix="m/")
    before = kept(tmp_path)
    for name, prefix in (("shop", None), ("other", "m")):
        with pytest.raises(SourceError, match="behind m/"):
            embed(tmp_path, name, ONE, whole_catalog=True, id_prefix=prefix)
    assert kept(tmp_path) == before
    embed(tmp_path, "shop", {"1": "c"})
    with pytest.raises(SourceError, match="behind m/"):  # the last run of the source was of a part
        embed(tmp_path, "shop", ONE, whole_catalog=True)
    embed(tmp_path, "market", {"2": "b"}, id_prefix="m/", whole_catalog=True, max_vanished=1.0)
    assert kept(tmp_path) == ONE | {"1": "c", "m/2": "b"}
