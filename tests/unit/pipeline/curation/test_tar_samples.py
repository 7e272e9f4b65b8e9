"""Test the members of a WebDataset sample."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.curation.filter.run import filter_rows
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.tars.sample import members_of
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.phases import ignore
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.mark.parametrize(
    ("image_name", "text", "members"),
    [
        (None, "红", {"a.png": PNG, "a.txt": "红".encode()}),
        (None, None, {"a.png": PNG}),
        ("jpg", "红", {"a.jpg": PNG, "a.txt": "红".encode()}),
        ("jpg", None, {"a.jpg": PNG, "a.txt": b""}),
    ],
)
def test_one_image_name_gives_all_samples_the_same_members(image_name, text, members):
    found = dict(members_of({"id": "a", "text": text}, [], PNG, image_name))
    assert json.loads(found.pop("a.json")) == {"hanclip": {"id": "a"}}
    assert found == members


def test_a_column_called_hanclip_is_kept():
    row = {"id": "a", "hanclip": {"id": "b"}, "source_hanclip": 1}
    [(_, content)] = members_of(row, ["hanclip", "source_hanclip"], None, None)
    assert json.loads(content) == {
        "source_source_hanclip": {"id": "b"},
        "source_hanclip": 1,
        "hanclip": {"id": "a"},
    }


@pytest.mark.parametrize(("rows", "late"), [(4, []), (9, ["price"])])
def test_columns_without_a_value_in_the_first_samples_are_named(tmp_path: Path, rows: int, late: list[str]) -> None:
    schema = pa.schema([("price", pa.string()), ("vendor", pa.string()), ("never", pa.string())])
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False, extra=schema))
    table = embedded_rows(some_records(rows), dataset.identity)
    for name, values in (("price", [None] * 5 + ["1"] * (rows - 5)), ("never", [None] * rows)):
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(values[:rows], pa.string()))
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(rows))
    settings = FilterSettings(where="true", form="tars", dest=str(tmp_path / "tars"), tar_rows=4)
    for _ in range(2):  # the second one reads the notes of the first
        assert filter_rows(dataset.uri, settings, ignore).written["late"] == late
