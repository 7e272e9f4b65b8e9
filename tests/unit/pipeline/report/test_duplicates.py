"""Test what a report shows of duplicates: every group, one tile for each elsewhere, and nothing of a stale table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.curation.dedup.tables import SCHEMA
from pipeline.curation.tables import write_table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.layout import dedup_uri
from pipeline.dataset.schema import QUARANTINE
from pipeline.phases import ignore
from pipeline.report.material import Material
from pipeline.report.sections.duplicates import duplicates
from pipeline.report.write import WrittenReport, write_report
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records
from tests.fixtures.pages import Page

CROWD, PAIRS, ROWS = 100, 30, 170


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """One group of a hundred rows, thirty of two, a row that is elsewhere, and nine others; no picture can be read."""
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity())
    add_rows(dataset, 1, ROWS)
    return dataset


def add_rows(dataset: Dataset, shard: int, count: int) -> pa.Table:
    rows = embedded_rows(some_records(count), dataset.identity)
    ids = pa.array([f"{shard}-{number:04d}" for number in range(count)])
    rows = rows.set_column(rows.column_names.index("id"), "id", ids)
    # A browser follows the first kind of address. Neither can be read.
    uris = pa.array([f"http:///{n}.jpg" if n % 30 == 1 else f"JavaScript:alert({n})" for n in range(count)])
    rows = rows.set_column(rows.column_names.index("image_uri"), "image_uri", uris)
    dataset.write_shard(f"{shard:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(count))
    return rows


def deduplicated(dataset: Dataset, hashed: str = "phash") -> set[tuple[str, str]]:
    """Write a table of duplicates; returns pairs of a kept row and one that was dropped for it."""
    with Material(dataset.uri, ignore) as material:
        states = dict(material.work.rows("SELECT id, source_fingerprint FROM facts"))
    ids = sorted(states)
    kept = dict.fromkeys(ids[1:CROWD], ids[0])
    kept |= {ids[at + 1]: ids[at] for at in range(CROWD, CROWD + 2 * PAIRS, 2)}
    groups = {**kept, **{id_: id_ for id_ in kept.values()}}
    sizes = Counter(groups.values())
    rows: list[dict[str, Any]] = []
    for at, id_ in enumerate(ids):
        of = "there" if id_ == ids[-1] else kept.get(id_)
        rung = None if of is None else (hashed, "image", "bytes")[at % 3]
        rows.append(
            {
                "id": id_,
                "source_fingerprint": states[id_],
                "group": groups.get(id_),
                "group_size": sizes.get(groups.get(id_, ""), 1),
                "rung": rung,
                "duplicate_of": of,
                "duplicate_in": "s3://other" if of == "there" else None,
                "cosine": None if rung in (None, hashed) else 0.99 if rung == "image" else 1.0,
                "bits": 2 if rung == hashed else None,
                "keep": not of,
            }
        )
    write_table(dedup_uri(dataset.uri), SCHEMA, [pa.Table.from_pylist(rows, SCHEMA)], {"settings": {}})
    return {(of, id_) for id_, of in kept.items()}


def written(dataset: Dataset, drops: int = 1000) -> tuple[Page, dict[str, list[Page]], WrittenReport]:
    """The report, and its pages of duplicates in each order."""
    report = Path(dataset.uri).parent / "the report.html"
    result = write_report(dataset.uri, str(report), None, drops, ignore)
    folder = report.with_name("the report-duplicates")
    names = sorted(folder.glob("*.html"), key=lambda path: int(path.stem.partition("-")[2])) if folder.exists() else []
    pages = {order: [Page(path) for path in names if path.name.startswith(order)] for order in ("near", "size")}
    assert result.duplicate_pages == len(names)
    assert result.duplicate_bytes == sum(path.stat().st_size for path in names)
    return Page(report), pages, result


def pairs_on(pages: list[Page]) -> set[tuple[str, str]]:
    found, kept = set(), ""
    for page in pages:
        for card in page.cards["groups"]:
            kept = card["rid"] if card["marked"] == "True" else kept
            if card["marked"] == "False":
                found.add((kept, card["rid"]))
    return found


def test_every_group_is_on_a_page_in_both_orders_each_dropped_row_beside_its_kept_one(dataset: Dataset) -> None:
    pairs = deduplicated(dataset)
    report, pages, _ = written(dataset)
    small = {(kept, id_) for kept, id_ in pairs if kept != "1-0000"}
    for some in pages.values():
        found = pairs_on(some)
        assert small <= found
        assert len([kept for kept, _ in found & pairs if kept == "1-0000"]) == 60
        assert "39 further rows of this group were dropped" in "".join(page.source for page in some)
        assert "kept in s3://other" in " ".join(page.texts["groups"] for page in some)
        for page in some:
            page.check_self_contained()
    assert pages["size"][0].texts["groups"].split()[:3] == ["100", "rows", "1-0000"]
    nearest = pages["near"][0].cards["groups"][1]["note"]
    assert nearest == "image · 0.9900"  # 0.005 above the threshold; bits are 1 of 64 below theirs, bytes are equal
    notes = {card["note"] for page in pages["near"] for card in page.cards["groups"]}
    assert notes == {"kept", "image · 0.9900", "phash · 2 bits", "bytes · 1.0000"}
    links = [attrs["href"] for tag, attrs in report.tags if tag == "a" and "data-page" in attrs]
    assert links == ["the%20report-duplicates/near-1.html", "the%20report-duplicates/size-1.html"]
    assert "32 groups with 130 dropped rows on pages" in report.texts["duplicates"]
    sources = {attrs["href"] for page in pages["near"] for tag, attrs in page.tags if attrs.get("class") == "source"}
    assert len(sources) == 6
    assert all(str(source).startswith("http:///") for source in sources)


def test_what_is_not_on_the_pages_is_counted_and_pages_that_are_left_over_are_deleted(dataset: Dataset) -> None:
    deduplicated(dataset)
    assert len(written(dataset)[1]["near"]) == 2
    report, pages, _ = written(dataset, drops=5)
    assert [len(some) for some in pages.values()] == [1, 1]
    assert "--drops 130" in report.texts["duplicates"]
    assert "31 further groups with 31 dropped rows are not on these pages" in report.texts["duplicates"]


def test_groups_on_the_pages_of_either_order_are_counted_once(dataset: Dataset) -> None:
    deduplicated(dataset)
    report, _, _ = written(dataset, drops=70)  # the crowd and ten pairs in each order, three of them in both
    assert "18 groups with 116 dropped rows on pages" in report.texts["duplicates"]
    assert "14 further groups with 14 dropped rows are not on these pages" in report.texts["duplicates"]


@pytest.mark.parametrize(("hashed", "margin"), [("phash", 1 / 64), ("mirrored", 4 / 64)])
def test_the_report_shows_some_groups_whatever_their_size_and_how_near_they_are(
    dataset: Dataset, hashed: str, margin: float
) -> None:
    deduplicated(dataset, hashed)
    with Material(dataset.uri, ignore) as material:
        section = duplicates(material)
        margins = dict(material.work.rows("SELECT DISTINCT rung, round(margin, 6) FROM dropped"))
    assert section
    assert [[one.size for one in some] for some in (section.large, section.near)] == [[100, 2, 2, 2]] * 2
    assert margins == {hashed: round(margin, 6), "image": 0.005, "bytes": 1}


def test_one_picture_stands_for_a_group_in_every_wall(dataset: Dataset) -> None:
    pairs = deduplicated(dataset)
    report, _, _ = written(dataset)
    group = {id_: kept for kept, id_ in pairs} | {kept: kept for kept, _ in pairs}
    for section, walls in (("sample", 1), ("similarity", 3)):
        cards = report.cards[section]
        for wall in range(walls):
            shown = [group.get(card["rid"], card["rid"]) for card in cards[18 * wall : 18 * (wall + 1)]]
            assert len(shown) == len(set(shown)) == 18
        assert {card.get("alike") for card in cards} == {"+99 alike", "+1 alike", None}


def test_nothing_of_a_stale_table_is_shown_but_the_cure(dataset: Dataset) -> None:
    deduplicated(dataset)
    add_rows(dataset, 2, 3)
    report, pages, result = written(dataset)
    assert result.duplicate_pages == 0
    assert not pages["near"]
    assert "stale" in report.texts["stale"]
    assert "3 current rows are not in it, and 0 rows of it are not current" in report.texts["stale"]
    assert f"hanclip dedup {dataset.uri}" in report.texts["stale"]
    assert "dedup-dropped" not in report.texts
    assert "duplicates" not in report.cards
    assert not [card for cards in report.cards.values() for card in cards if "alike" in card]


def test_an_image_only_dataset_shows_pictures_before_dedup_ran(tmp_path: Path) -> None:
    images = Dataset.open_or_create(str(tmp_path / "images"), an_identity(has_texts=False))
    rows = embedded_rows(some_records(20), images.identity)
    uris = pa.array([f"{tmp_path}/gone/{number}.jpg" for number in range(20)])
    rows = rows.set_column(rows.column_names.index("image_uri"), "image_uri", uris)
    images.write_shard(f"{1:032x}", "2026-11-21", rows, QUARANTINE.empty_table(), provenance(20))
    report, _, _ = written(images)
    assert [card["gap"] for card in report.cards["sample"]] == ["not found"] * 18
    assert "Not looked for yet" in report.texts["duplicates"]
