"""Test what the map of the vectors hands to the script of the page."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.curation.tables import write_table
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.layout import dedup_uri
from pipeline.dataset.schema import QUARANTINE
from pipeline.report.columns.read import column_profiles
from pipeline.report.material import Material
from pipeline.report.sections import vector_map as section
from pipeline.report.sections.vector_map import MapSection, vector_map
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records

ROWS = 60
GROUPS = pa.schema(
    [*((name, pa.string()) for name in ("id", "source_fingerprint", "group", "rung")), ("keep", pa.bool_())]
)


def mapped(out: Path, compared: int = ROWS, **changes: bool) -> MapSection | None:
    """The map of rows on two dates with a vendor, an even or odd number, and duplicates of the first row.

    The table of duplicates has the `compared` first rows.
    """
    extra = pa.schema(
        [("vendor", pa.string()), ("odd", pa.bool_()), ("sku", pa.int64()), ("far", pa.timestamp("s", "UTC"))]
    )
    dataset = Dataset.open_or_create(str(out), an_identity(extra=extra, **changes))
    table = embedded_rows(some_records(ROWS), an_identity(**changes))
    columns = {
        "vendor": [None if n == 5 else f"店{n % 3}" for n in range(ROWS)],
        "odd": [n % 2 == 1 for n in range(ROWS)],
        "sku": list(range(ROWS)),
        "far": [253_402_300_800 + n % 2 for n in range(ROWS)],  # the year 10000
    }
    for field in extra:
        table = table.append_column(field, pa.array(columns[field.name], field.type))
    for first, day in ((0, "2026-11-21"), (20, "2026-11-22")):
        part = table.slice(first, 20 if not first else None)
        dataset.write_shard(f"{first:032x}", day, part, QUARANTINE.empty_table(), provenance(part.num_rows))
    alike = [n < 3 for n in range(ROWS)]
    groups = {
        "id": table["id"],
        "source_fingerprint": table["source_fingerprint"],
        "group": [table["id"][0].as_py() if one else None for one in alike],
        "rung": [None] * ROWS,
        "keep": [n == 0 or n >= 3 for n in range(ROWS)],
    }
    write_table(dedup_uri(dataset.uri), GROUPS, [pa.table(groups, schema=GROUPS)[:compared]], {})
    with Material(dataset.uri, lambda *_: None) as material:
        return vector_map(material, column_profiles(material).columns)


def decoded(text: str, kind: str = "u1") -> list[int]:
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def test_points_have_places_ids_and_colours(tmp_path: Path) -> None:
    found = mapped(tmp_path / "out")
    assert found
    assert (found.vector, found.points, found.rows) == ("image", ROWS, ROWS)
    assert found.data["ids"] == [record.id for record in some_records(ROWS)]
    for layout in found.data["layouts"]:
        assert [len(set(decoded(layout[axis], "<u2"))) > ROWS / 2 for axis in "xy"] == [True, True]
        assert (min(decoded(layout["x"], "<u2")), max(decoded(layout["x"], "<u2"))) == (0, 65535)
    labels = [colour.label if isinstance(colour.label, str) else colour.label.key for colour in found.colours]
    assert labels == ["map.by_similarity", "map.by_duplicates", "map.by_date", "vendor", "odd", "far"]
    similarity, duplicates, date, vendor, odd, far = found.data["colours"]
    assert 0 <= min(decoded(similarity["values"])) < max(decoded(similarity["values"])) == 254
    assert decoded(duplicates["values"]) == [1, 2, 2] + [0] * (ROWS - 3)
    assert duplicates["alike"] == [1, 1, 1] + [0] * (ROWS - 3)
    assert decoded(date["values"]) == [0] * 20 + [1] * 40
    assert date["groups"] == [["2026-11-21"] * 2, ["2026-11-22"] * 2]
    assert {names[0] for names in vendor["groups"]} == {"店0", "店1", "店2"}
    assert decoded(vendor["values"])[5] == 255
    assert [odd["groups"][place][0] for place in decoded(odd["values"])[:2]] == ["false", "true"]
    assert [names[0] for names in far["groups"]] == ["10000-01-01T00:00:00Z", "10000-01-01T00:00:01Z"]
    assert 0 < found.kept[1] <= found.kept[0] <= 1


def test_nothing_is_coloured_by_a_stale_table_of_duplicates(tmp_path: Path) -> None:
    found = mapped(tmp_path / "out", ROWS - 1)
    assert found
    assert [str(getattr(one.label, "key", one.label)) for one in found.colours][:2] == [
        "map.by_similarity",
        "map.by_date",
    ]


def test_ids_are_bounded_and_pictures_are_some_of_the_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(section, "_ID_BYTES", 10 * 30)  # an id has 10
    found = mapped(tmp_path / "out")
    assert found
    assert found.points == 30
    assert found.data["ids"] == [record.id for record in some_records(ROWS)][::2]
    assert [row.id for row in found.pictures] == [found.data["ids"][place] for place in found.data["shown"]]


def test_texts_are_placed_without_images(tmp_path: Path) -> None:
    found = mapped(tmp_path / "out", has_images=False)
    assert found
    assert (found.vector, found.pictures) == ("text", [])
