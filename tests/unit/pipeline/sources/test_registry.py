"""The registry of source formats: a format is one package and one name in `SourceKind`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import pyarrow as pa
import pytest

from pipeline import sources, storage
from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.records import RawRecord, Record
from pipeline.sources import registry
from pipeline.sources.collector import RecordCollector
from pipeline.sources.contract import Sink, SourceFormat, SourceSpec
from pipeline.sources.detect import files_of, kind_of_container
from pipeline.sources.names import kind_of
from pipeline.sources.registry import formats
from pipeline.vocabulary import SourceKind
from tests.fixtures.sources import put, read, scan


def test_registered_names_equal_the_values_of_the_format_option() -> None:
    kinds = get_args(SourceKind)
    assert [known.name for known in formats().values()] == list(formats()) == list(kinds)
    assert get_args(SourceConfig.model_fields["format"].annotation) == ("auto", *kinds)


def test_a_suffix_belongs_to_one_format() -> None:
    suffixes = [suffix for known in formats().values() for suffix in known.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    for known in formats().values():
        assert {kind_of(f"A{suffix.upper()}") for suffix in known.suffixes} <= {known.name}
        assert all(kind_of(f"a{suffix}") not in (None, known.name) for suffix in known.shared)
        assert set(known.options) <= set(SourceConfig.model_fields)


@pytest.mark.parametrize(
    ("container", "kind"),
    [
        (None, "folder"),
        ("s3://b/a.TAR.gz", "webdataset"),
        ("/d/a.parquet", "table"),
        ("/d/a.csv", "table"),
        ("/d/a.tsv.gz", "table"),
        ("/d/a.tsv", None),
        ("/d/a.jsonl", None),
        ("/d/lmdb/valid/imgs", None),
    ],
)
def test_a_suffix_decides_the_format_unless_two_formats_share_it(
    container: str | None, kind: SourceKind | None
) -> None:
    assert kind_of_container(container) == kind


class ToyReader:
    def __init__(self, spec: SourceSpec) -> None:
        self._text = str(spec.details)

    def read(self, records: list[Record]) -> list[RawRecord]:
        return [RawRecord(record, text=self._text) for record in records]

    def close(self) -> None:
        pass


def scan_toys(config: SourceConfig, sink: Sink, out: str) -> SourceSpec:
    collector = RecordCollector(sink, config.limit)
    for info, name in files_of(config, "toy", out):  # type: ignore[arg-type]
        collector.add(name, None, None, info.uri, 0, info.size_bytes, info.fingerprint)
    collector.flush()
    return SourceSpec("toy", config, False, True, pa.schema([]), collector.rows, "played")  # type: ignore[arg-type]


@pytest.fixture
def toy_format(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register a package `pipeline.sources.toy` and its name."""
    package = ModuleType("pipeline.sources.toy")
    package.FORMAT = SourceFormat(  # type: ignore[attr-defined]
        "toy",  # type: ignore[arg-type]
        "toys",
        (".toy", ".toy.gz"),
        scan_toys,
        ToyReader,
        sequential=lambda container, details: container.endswith(".gz"),
        options=("fingerprint_column",),
        details=lambda config, container: f"played again from {storage.name(container)}",
    )
    monkeypatch.setitem(sys.modules, "pipeline.sources.toy", package)
    monkeypatch.setattr(registry, "get_args", lambda kinds: (*get_args(kinds), "toy"))
    formats.cache_clear()
    yield
    formats.cache_clear()


@pytest.mark.usefixtures("toy_format")
def test_a_new_format_needs_only_a_package_and_a_name(tmp_path: Path) -> None:
    put(tmp_path, {"a.toy": b"a", "x/b.toy.gz": b"b", "note.txt": b"no toy"})
    spec, records = scan(tmp_path, fingerprint_column="x")
    assert (spec.kind, [record.id for record in records]) == ("toy", ["a.toy", "x/b.toy.gz"])
    assert {raw.text for raw in read(spec, records).values()} == {"played"}
    assert [sources.is_sequential(spec, record.container) for record in records] == [False, True]
    again = sources.reopen("toy", spec.config, records[0].container, False, True)  # type: ignore[arg-type]
    assert again.read(records[:1])[0].text == "played again from a.toy"
    put(tmp_path, {"c.tar": b""})
    with pytest.raises(SourceError, match="holds tars and toys"):
        scan(tmp_path)
    with pytest.raises(SourceError, match=r"--fingerprint-column are for toys, and .* is read as a folder source"):
        scan(put(tmp_path / "photos", {"a.jpg": b""}) / "a.jpg", fingerprint_column="x")
