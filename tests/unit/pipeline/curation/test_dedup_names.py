"""Test dedup of datasets whose own columns have any name, and against others: what is counted, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.curation.dedup.plan import plan
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.errors import UsageError
from pipeline.phases import ignore
from pipeline.report.material import Material
from pipeline.report.sections.duplicates import duplicates
from pipeline.vocabulary import Rung
from tests.fixtures.duplicates import DIM, EmbeddedCatalog, Picture, pictures, unit

#: Names that dedup gives to columns of its own, and those of properties that it does not store.
NAMES = ["group", "keep", "format", "image_format", "value", "key", "n", "least", "one"]
ADDED = ["row", "ROW", "plain_text", "_group", "_kept", "_name", "_best", "Text", "Keep"]


def kept(out: str) -> list[str]:
    return [row["id"] for row in pq.read_table(f"{out}/dedup/dedup.parquet").to_pylist() if row["keep"]]


def test_columns_of_the_source_may_have_the_names_that_dedup_uses(tmp_path: Path) -> None:
    one, other = (picture.vector for picture in pictures(2, 3, near=0))
    extra = dict.fromkeys([*NAMES, *ADDED], 1)
    goods = {
        "a": Picture(one, extra=extra),
        "b": Picture(one, extra={**extra, "image_format": 2}),
        "c": Picture(other, extra=extra),
    }
    catalog = EmbeddedCatalog(tmp_path / "out", pa.schema([(name, pa.int64()) for name in extra]))
    catalog.night(goods, shards=1)
    rungs = (Rung.BYTES, Rung.IMAGE)
    for settings in (
        DedupSettings(),
        DedupSettings(keep_sql="length(text) DESC, keep", rungs=(*rungs, "image+text")),
        DedupSettings(same=tuple(name for name in NAMES if not name.startswith("image")), rungs=rungs),
    ):
        for _night in range(2):
            dedup(catalog.out, settings)
            assert kept(catalog.out) == ["a", "c"], settings
    for name in ADDED:
        with pytest.raises(UsageError, match=f"--same {name}: SQL ignores case"):
            dedup(catalog.out, DedupSettings(same=(name,)))


def test_a_reference_with_another_type_of_a_compared_column_is_refused(tmp_path: Path) -> None:
    vector = pictures(1, 3)[0].vector
    for name, kind in (("out", pa.int64()), ("other", pa.int32())):
        EmbeddedCatalog(tmp_path / name, pa.schema([("size", kind), ("brand", pa.int64())])).night(
            {name: Picture(vector, extra={"size": 40, "brand": 1})}, shards=1
        )
    out, other = str(tmp_path / "out"), str(tmp_path / "other")
    for call in (dedup, plan):
        with pytest.raises(UsageError, match="its column size is of type int32, and that of the dataset of type int64"):
            call(out, DedupSettings(same=("size",), against=(other,)))
        with pytest.raises(UsageError, match="no such column"):
            call(out, DedupSettings(same=("no",), against=(other,)))
    assert dedup(out, DedupSettings(same=("brand",), against=(other,))).elsewhere == 1


def test_groups_have_two_rows_here_and_references_with_one_id_are_told_apart(tmp_path: Path) -> None:
    far, near = pictures(2, 3, near=0)
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({"a": near, "b": near, "c": far}, shards=1)
    others = [EmbeddedCatalog(tmp_path / f"other-{n}") for n in range(4)]
    for other in others:
        other.night({"same": far}, shards=1)
    uris = tuple(other.out for other in others)
    planned = plan(catalog.out, DedupSettings(against=uris))
    assert (planned.rows, planned.pairs, planned.scratch_bytes) == (3, 7 * 7, 7 * (DIM + 2 * 64) * 4)
    for against in (uris, uris[::-1]):
        found = dedup(catalog.out, DedupSettings(against=against))
        assert (found.groups, found.largest, found.elsewhere) == (1, [("a", 2)], 1)
        with Material(catalog.out, ignore) as material:
            section = duplicates(material)
        assert section
        assert (section.groups, section.largest, section.dropped) == (1, 2, 2)
        listed = [
            (kept.id, kept.elsewhere, [row.id for row in kept.dropped]) for one in section.large for kept in one.kept
        ]
        assert listed == [("a", "", ["b"]), ("same", against[0], ["c"])]
        rows = pq.read_table(f"{catalog.out}/dedup/dedup.parquet").to_pylist()
        assert {row["id"]: row["duplicate_in"] for row in rows} == {"a": None, "b": None, "c": against[0]}


def test_one_row_that_stays_although_it_is_a_duplicate_is_noted(tmp_path: Path) -> None:
    one, other = (picture.vector for picture in pictures(2, 3, near=0))
    away = unit(other - (other @ one) * one)
    catalog = EmbeddedCatalog(tmp_path / "out")
    catalog.night({"a": Picture(one), "b": Picture(unit(0.9 * one + np.sqrt(1 - 0.81) * away))}, shards=1)
    assert dedup(catalog.out, DedupSettings()).kept == 2
    [note] = dedup(catalog.out, DedupSettings(image_cosine=0.85)).notes
    assert note.startswith("1 of the rows that stay is a duplicate by these settings")
