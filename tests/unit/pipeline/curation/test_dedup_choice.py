"""Test which rows `hanclip dedup` keeps: near what they stand for, stably, and by more than noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.curation.dedup.pairs import compare
from pipeline.curation.dedup.run import Deduplication, dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.find.picture import SoughtPicture, find_picture
from pipeline.curation.tables import read_facts
from pipeline.errors import UsageError
from pipeline.vocabulary import Keep
from tests.fixtures.duplicates import COSINE, DIM, EmbeddedCatalog, Picture, groups_in, pictures, unit


def table(out: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in pq.read_table(f"{out}/dedup/dedup.parquet").to_pylist()}


def check(out: str, goods: dict[str, Picture], summary: Deduplication) -> dict[str, dict[str, Any]]:
    """Each dropped row is near the kept row that it names, at the cosine it names; rows that stay are not near."""
    rows = table(out)
    for id_, row in rows.items():
        if not row["keep"]:
            kept = rows[row["duplicate_of"]]
            cosine = float(goods[id_].vector.astype(np.float64) @ goods[row["duplicate_of"]].vector)
            assert kept["keep"]
            assert kept["group"] == row["group"]
            assert cosine >= COSINE - 1e-6
            assert row["cosine"] == pytest.approx(cosine, abs=1e-6)
    kept_ids = [id_ for id_, row in rows.items() if row["keep"]]
    vectors = np.stack([goods[id_].vector for id_ in kept_ids])
    assert (np.triu(vectors @ vectors.T, 1) < COSINE + 1e-6).all()
    assert summary.kept == len(kept_ids)
    assert summary.lowest_cosine is None or summary.lowest_cosine >= COSINE - 1e-6
    return rows


def chain(count: int, directions: int = DIM, seed: int = 3) -> list[Picture]:
    """Vectors at a cosine of 0.990 to the next, each turned towards a new direction of some that they lie in."""
    draw, found = np.random.default_rng(seed), [unit(np.random.default_rng(2).standard_normal(directions))]
    while len(found) < count:
        away = draw.standard_normal(directions)
        away = unit(away - (away @ found[-1]) * found[-1])
        found.append(unit(0.99 * found[-1] + np.sqrt(1 - 0.99**2) * away))
    return [Picture(np.pad(vector, (0, DIM - directions))) for vector in found]


def cloud(count: int, spread: float = 0.12, seed: int = 5) -> list[Picture]:
    """Vectors around one, in four directions."""
    draw = np.random.default_rng(seed)
    away = np.zeros((count, DIM))
    away[:, 1:5] = spread * draw.standard_normal((count, 4))
    return [Picture(vector) for vector in unit(away + np.eye(DIM)[0])]


@pytest.mark.parametrize("made", [chain(200), cloud(800)], ids=["chain", "cloud"])
def test_a_row_is_dropped_only_for_a_kept_row_within_the_threshold(
    tmp_path: Path, made: list[Picture], monkeypatch: pytest.MonkeyPatch
) -> None:
    goods = {f"sku-{n:04d}": one for n, one in enumerate(made)}
    EmbeddedCatalog(tmp_path / "one").night(goods)
    first = check(str(tmp_path / "one"), goods, dedup(str(tmp_path / "one"), DedupSettings()))
    assert len({row["group"] for row in first.values()} - {None}) < len(goods) / 50
    # How many pairs of a dense cluster are listed changes nothing.
    monkeypatch.setattr(compare, "CROWD", 2)
    EmbeddedCatalog(tmp_path / "two").night(goods)
    dedup(str(tmp_path / "two"), DedupSettings())
    assert table(str(tmp_path / "two")) == first


@pytest.mark.parametrize(
    ("made", "kept", "groups"),
    [
        # Two steps of 0.990 are 0.980, below the threshold of 0.985: a row is near its two neighbours alone.
        (chain(200), 100, 1),
        # In few directions a step may lead half back, so that a row is near the next but one.
        (chain(200, 48, 11), 98, 1),
        (cloud(2000, 0.18, 25), 206, 17),
    ],
    ids=["chain", "chain in 48 directions", "cloud"],
)
def test_those_rows_stay_that_are_near_no_row_before_them_that_stays(
    tmp_path: Path, made: list[Picture], kept: int, groups: int
) -> None:
    goods = {f"sku-{n:04d}": one for n, one in enumerate(made)}
    EmbeddedCatalog(tmp_path / "out").night(goods)
    summary = dedup(str(tmp_path / "out"), DedupSettings(keep=Keep.FIRST))
    rows = check(str(tmp_path / "out"), goods, summary)
    vectors, stay = np.stack([one.vector for one in made]), list[int]()
    for n, vector in enumerate(vectors):
        if not (vectors[stay] @ vector >= COSINE).any():
            stay.append(n)
    assert [id_ for id_ in sorted(rows) if rows[id_]["keep"]] == [f"sku-{n:04d}" for n in stay]
    assert (summary.kept, len({row["group"] or id_ for id_, row in rows.items()})) == (kept, groups)


def test_what_a_night_kept_stays_kept_and_groups_keep_their_names(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    originals = pictures(30, 7, near=0)
    again = [Picture(unit(p.vector + 0.003 * draw.standard_normal(DIM)), similarity=2) for p in originals]
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({f"sku-{n:02d}": p for n, p in enumerate(originals)})
    assert dedup(catalog.out, DedupSettings()).kept == 30
    catalog.night({f"new-{n:02d}": p for n, p in enumerate(again)})
    for settings in (DedupSettings(), DedupSettings(keep=Keep.LARGEST), DedupSettings(keep_sql="similarity DESC")):
        summary = dedup(catalog.out, settings)
        assert {id_ for id_, row in table(catalog.out).items() if row["keep"]} == {f"sku-{n:02d}" for n in range(30)}
        assert any("--reconsider" in note for note in summary.notes) == (settings != DedupSettings())
    assert {row["group"] for row in table(catalog.out).values()} == {f"new-{n:02d}" for n in range(30)}
    catalog.night({f"aaa-{n:02d}": p for n, p in enumerate(again)}, gone=["new-00"])
    dedup(catalog.out, DedupSettings())
    rows = table(catalog.out)
    assert {row["group"] for row in rows.values()} == {f"new-{n:02d}" for n in range(30)}
    assert (rows["aaa-03"]["duplicate_of"], rows["aaa-03"]["group_size"]) == ("sku-03", 3)
    dedup(catalog.out, DedupSettings(reconsider=True))
    rows = table(catalog.out)
    assert not any(row["keep"] for id_, row in rows.items() if id_.startswith("sku"))
    assert {row["group"] for row in rows.values()} == {f"aaa-{n:02d}" for n in range(30)}


def test_a_group_that_splits_leaves_its_name_to_the_larger_part(tmp_path: Path) -> None:
    one, other = pictures(2, 8, near=0)
    between = np.linspace(0, 1, 41)
    goods = {f"sku-{n:02d}": Picture(unit(one.vector + t * (other.vector - one.vector))) for n, t in enumerate(between)}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(goods)
    dedup(catalog.out, DedupSettings())
    assert {row["group"] for row in table(catalog.out).values()} == {"sku-00"}
    gone = [f"sku-{n:02d}" for n in range(10, 20)]
    catalog.night({"sku-40": goods["sku-40"]}, gone=gone, shards=1)
    dedup(catalog.out, DedupSettings())
    names = {id_: row["group"] for id_, row in table(catalog.out).items()}
    assert (names["sku-35"], names["sku-05"]) == ("sku-00", "sku-01")


def test_a_table_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    goods = {f"sku-{n:04d}": one for n, one in enumerate(chain(60))}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night(goods)
    dedup(catalog.out, DedupSettings())
    path = tmp_path / "out" / "dedup" / "dedup.parquet"
    new = pq.read_table(path)
    keep = [id_ == "sku-0030" for id_ in new["id"].to_pylist()]
    old = new.drop_columns(["group_size", "bits", "keep"]).append_column("keep", [keep])
    facts = read_facts(str(path))
    old = old.replace_schema_metadata(
        {f"hanclip.{name}": "{}" if name == "settings" else "[]" for name in facts if name != "rule"}
    )
    pq.write_table(old, path)
    summary = dedup(catalog.out, DedupSettings())
    rows = check(catalog.out, goods, summary)
    assert rows["sku-0030"]["keep"]
    assert any("kept one row of each group" in note for note in summary.notes)
    assert groups_in(pq.read_table(path)) == groups_in(new)
    path.write_bytes(b"PAR1 damaged")
    with pytest.raises(Exception, match="--reconsider"):
        dedup(catalog.out, DedupSettings())


def test_similarity_decides_only_beyond_its_noise(tmp_path: Path) -> None:
    draw = np.random.default_rng(10)
    goods = {}
    for n, one in enumerate(pictures(40, 11, near=0)):
        goods[f"b-original-{n:02d}"] = Picture(one.vector, side=400, similarity=0.3)
        for version in range(18):
            vector = unit(one.vector + 0.002 * draw.standard_normal(DIM))
            goods[f"a-version-{n:02d}-{version:02d}"] = Picture(vector, 390 - version, 0.3 + draw.uniform(0, 0.002))
    EmbeddedCatalog(tmp_path / "out").night(goods)
    dedup(str(tmp_path / "out"), DedupSettings())
    kept = [id_ for id_, row in table(str(tmp_path / "out")).items() if row["keep"]]
    assert sorted(kept) == [f"b-original-{n:02d}" for n in range(40)]
    dedup(str(tmp_path / "out"), DedupSettings(keep_margin=0, reconsider=True))
    kept = [id_ for id_, row in table(str(tmp_path / "out")).items() if row["keep"]]
    assert all(id_.startswith("a-version") for id_ in kept)


def test_between_equal_pixels_more_encoded_bytes_win(tmp_path: Path) -> None:
    vector = pictures(1, 3)[0].vector
    sizes = {"a": None, "b": 20_000, "c": 30_000, "d": 10_000}
    goods = {id_: Picture(vector, size_bytes=size) for id_, size in sizes.items()}
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({**goods, "e": Picture(vector, side=99, size_bytes=50_000)}, shards=1)
    dedup(catalog.out, DedupSettings())
    assert [id_ for id_, row in table(catalog.out).items() if row["keep"]] == ["c"]


def test_an_order_knows_format_and_bytes_and_says_when_it_is_ascending(tmp_path: Path) -> None:
    vector = pictures(1, 3)[0].vector
    goods = {"a": Picture(vector, similarity=0.1, size_bytes=9), "b": Picture(vector, similarity=0.9, size_bytes=8)}
    EmbeddedCatalog(tmp_path / "out").night(goods, shards=1)
    out = str(tmp_path / "out")
    for order, kept_id, noted in (
        ("similarity", "a", True),
        ("similarity ASC", "a", False),
        ("similarity DESC", "b", False),
        ("format = 'png' DESC, run_date DESC, id DESC", "b", False),
        ("image_bytes DESC", "a", False),
    ):
        summary = dedup(out, DedupSettings(keep_sql=order, reconsider=True))
        assert [id_ for id_, row in table(out).items() if row["keep"]] == [kept_id]
        assert any("ascending" in note for note in summary.notes) == noted


def test_second_witnesses_narrow_what_duplicates_are(tmp_path: Path) -> None:
    one, other = (p.vector for p in pictures(2, 3, near=0))
    near = [unit(one + 0.002 * np.random.default_rng(n).standard_normal(DIM)) for n in range(6)]
    goods = {
        "a": Picture(near[0], text="红色连衣裙", side=40),
        "b": Picture(near[1], text="红色连衣裙", side=500),
        "c": Picture(near[2], text="深红色连衣裙", side=40),
        "d": Picture(near[2], text="深红色连衣裙", side=40),
        "e": Picture(other, text="红色连衣裙", side=40),
    }
    out = str(tmp_path / "out")
    EmbeddedCatalog(out).night(goods, shards=2)
    never = tmp_path / "never.csv"
    never.write_text("c,d\nd,a\nno-such-id,a\n")

    def dropped(**settings: object) -> dict[str, tuple[str, str]]:
        dedup(out, DedupSettings(keep=Keep.FIRST, reconsider=True, **settings))  # type: ignore[arg-type]
        return {id_: (row["duplicate_of"], row["rung"]) for id_, row in table(out).items() if not row["keep"]}

    assert dropped(rungs=("image",)) == dict.fromkeys("bcd", ("a", "image"))
    assert dropped(rungs=("text+image",)) == {"b": ("a", "image+text"), "d": ("c", "image+text")}
    assert dropped(rungs=("text+image", "image")) == {
        "b": ("a", "image+text"),
        "c": ("a", "image"),
        "d": ("a", "image"),
    }
    assert dropped(same=("image_width",)) == {"c": ("a", "image"), "d": ("a", "image")}
    assert dropped(same=("image_width", "text")) == {"d": ("c", "bytes")}
    assert dropped(not_duplicates=str(never)) == {"b": ("d", "image"), "c": ("a", "image")}  # the nearest
    assert table(out)["d"]["group"] == "a"
    with pytest.raises(UsageError, match="no such column"):
        dropped(same=("size",))


def test_witnesses_hold_within_a_dense_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CROWD", 2)
    draw = np.random.default_rng(4)
    centre = pictures(1, 3)[0].vector
    goods = {
        f"sku-{n:03d}": Picture(unit(centre + 0.002 * draw.standard_normal(DIM)), side=1 + n % 3) for n in range(150)
    }
    out = str(tmp_path / "out")
    EmbeddedCatalog(out).night(goods)
    summary = dedup(out, DedupSettings(keep=Keep.FIRST, same=("image_width",), pairs=True))
    assert {id_ for id_, row in table(out).items() if row["keep"]} == {"sku-000", "sku-001", "sku-002"}
    assert {(row["group"], row["group_size"]) for row in table(out).values()} == {(f"sku-00{n}", 50) for n in range(3)}
    pairs = pq.read_table(summary.pairs_uri).to_pylist()
    assert all(goods[pair["id"]].side == goods[pair["other"]].side for pair in pairs)
    assert {pair["rung"] for pair in pairs} == {"image"}
    assert min(pair["cosine"] for pair in pairs) >= COSINE
    dedup(out, DedupSettings())
    assert not Path(str(summary.pairs_uri)).exists()


def test_rows_of_another_dataset_are_dropped_and_that_dataset_is_left_alone(tmp_path: Path) -> None:
    draw = np.random.default_rng(12)
    goods = {f"sku-{n:02d}": p for n, p in enumerate(pictures(30, 7, near=0))}
    near = {id_: Picture(unit(p.vector + 0.003 * draw.standard_normal(DIM))) for id_, p in goods.items()}
    out, other = EmbeddedCatalog(tmp_path / "out"), EmbeddedCatalog(tmp_path / "other")
    out.night(goods)
    other.night({"sku-00": near["sku-05"], "other": near["sku-06"], "again": near["sku-06"]}, shards=1)
    assert dedup(out.out, DedupSettings()).kept == 30
    before = {path: path.read_bytes() for path in (tmp_path / "other").rglob("*") if path.is_file()}
    settings = DedupSettings(against=(other.out,))
    summary = dedup(out.out, settings)
    rows = table(out.out)
    assert (summary.rows, summary.kept, summary.elsewhere) == (30, 28, 2)
    assert (rows["sku-05"]["duplicate_of"], rows["sku-05"]["duplicate_in"]) == ("sku-00", other.out)
    assert (rows["sku-05"]["group"], rows["sku-05"]["group_size"], rows["sku-00"]["keep"]) == ("sku-05", 1, True)
    assert rows["sku-06"]["cosine"] == pytest.approx(float(goods["sku-06"].vector @ near["sku-06"].vector), abs=1e-6)
    assert dedup(out.out, settings).new_vectors == 0
    assert table(out.out) == rows
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / "other" / "dedup").exists()
    assert dedup(out.out, DedupSettings()).kept == 30
    (tmp_path / "link").symlink_to(out.out)
    for itself in (out.out, str(tmp_path / "link")):
        with pytest.raises(UsageError, match="the dataset itself"):
            dedup(out.out, DedupSettings(against=(itself,)))


def test_a_picture_is_found_by_its_bytes_pixels_hash_or_vector(tmp_path: Path) -> None:
    here, far = pictures(2, 3, near=0)
    near = Picture(unit(here.vector + 0.003 * np.random.default_rng(1).standard_normal(DIM)), phash=0xFF)
    hashed = Picture(pictures(1, 4, near=0)[0].vector, phash=0b11)
    goods = {"same": here, "near": near, "hashed": hashed, "far": Picture(far.vector, phash=2**63 - 1)}
    EmbeddedCatalog(tmp_path / "out").night(goods, shards=2)
    out = str(tmp_path / "out")

    def found(sha256: str, pixels: str) -> list[tuple[str, str]]:
        rows = find_picture(out, SoughtPicture(sha256, pixels, 0, here.vector), DedupSettings())
        return [(row.id, row.rung) for row in rows]

    others = [("hashed", "phash"), ("near", "image")]
    assert found(here.digest, here.digest[:32]) == [("same", "bytes"), *others]
    assert found("", here.digest[:32]) == [("same", "pixels"), *others]
    assert found("", "") == [("same", "phash"), *others]
    nowhere = SoughtPicture("", "", 2**32 - 1, -here.vector)
    assert find_picture(out, nowhere, DedupSettings()) == []
