"""Test the members of a WebDataset sample."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.config import OutputConfig, RunConfig, SourceConfig
from pipeline.curation.filter.run import filter_rows, refuse_source
from pipeline.curation.filter.settings import FilterSettings
from pipeline.curation.tars.sample import members_of
from pipeline.curation.tars.writer import TAR
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import UsageError
from pipeline.phases import ignore
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records
from tests.fixtures.sources import put

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


@pytest.mark.parametrize(
    "damage", ["", {"of_a_later_version": 1}, {"failures": None}, {"failures": [{"reason": 1}]}, {"samples": 2}]
)
def test_a_tar_with_a_damaged_note_is_written_again(tmp_path: Path, damage: str | dict[str, object]) -> None:
    dataset = Dataset.open_or_create(str(tmp_path / "out"), an_identity(has_images=False))
    table = embedded_rows(some_records(3), dataset.identity)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(3))
    settings = FilterSettings(where="true", form="tars", dest=str(tmp_path / "tars"))
    filter_rows(dataset.uri, settings, ignore)
    note = tmp_path / "tars" / "_tars" / "000000.json"
    before = note.read_text()
    note.write_text(damage if isinstance(damage, str) else json.dumps(json.loads(before) | damage))
    filter_rows(dataset.uri, settings, ignore)
    assert note.read_text() == before


def test_tars_that_the_next_run_would_take_for_its_source_are_refused(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    config = RunConfig(source=SourceConfig(uris=(f"{tmp_path}/*/*.tar",)), output=OutputConfig(uri=out))
    put(tmp_path / "out" / "_runs", {"run-1/config.json": config.model_dump_json()})
    with pytest.raises(UsageError, match="would read the output as records"):
        refuse_source(out, f"{tmp_path}/kept", TAR)
    refuse_source(out, f"{tmp_path}/kept/deeper", TAR)
