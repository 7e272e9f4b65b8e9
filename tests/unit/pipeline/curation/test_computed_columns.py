"""Test computed columns in filters and orders, the shipped rules, and what is written about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from pipeline.curation.computed import COMPUTED, FORMAT
from pipeline.curation.dedup.run import dedup
from pipeline.curation.dedup.settings import DedupSettings
from pipeline.curation.filter.rules import read_rules
from pipeline.curation.filter.run import FilterRun, filter_rows
from pipeline.curation.filter.settings import FilterSettings, NamedRule
from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.errors import UsageError
from pipeline.images.measures.signals import measure
from pipeline.phases import ignore
from pipeline.scratch.workspace import Workspace
from pipeline.vocabulary import Signal
from tests.fixtures.datasets import an_identity, filled, provenance, vector_column
from tests.fixtures.places import ROOT

DOC = (ROOT / "docs" / "filter.md").read_text(encoding="utf-8")


def photo() -> Image.Image:
    coarse = np.random.default_rng(7).integers(0, 256, (110, 110, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC)


def bordered() -> Image.Image:
    image = Image.new("RGB", (224, 224), "white")
    image.paste(photo().crop((0, 0, 60, 60)), (80, 80))
    return image


@dataclass(frozen=True)
class Item:
    """One row; by default nothing is wrong with it."""

    text: str | None = "红色 连衣裙 a1!"
    image: Image.Image | None = None
    size: tuple[int, int, int] = (800, 600, 60_000)
    similarity: float | None = 0.3
    name: str = "a.JPG"


def written(out: Path, items: dict[str, Item], **identity: object) -> str:
    """A dataset of these rows, with all signals."""
    dataset = Dataset.open_or_create(str(out), an_identity(**{"signals": tuple(map(str, Signal)), **identity}))
    schema = dataset.identity.schema
    signals = [measure(np.asarray(item.image or photo())[None], Signal) for item in items.values()]
    width, height, size = (list(values) for values in zip(*(item.size for item in items.values()), strict=True))
    vectors = np.tile(np.eye(1, 8, dtype=np.float32), (len(items), 1))
    columns = {
        "id": list(items),
        "image_uri": [f"s3://shop/{item.name}" for item in items.values()],
        "image_width": pa.array(width, pa.int32()),
        "image_height": pa.array(height, pa.int32()),
        "image_bytes": pa.array(size, pa.int64()),
        "image_embedding": vector_column(vectors),
        "text_embedding": vector_column(vectors),
        "text": pa.array([item.text for item in items.values()], pa.string()),
        "similarity": pa.array([item.similarity for item in items.values()], pa.float32()),
        "source_fingerprint": ["f"] * len(items),
        **{one.column: pa.array([row[one][0] for row in signals], pa.float32()) for one in Signal},
    }
    table = filled({name: values for name, values in columns.items() if name in schema.names}, schema)
    dataset.write_shard("0" * 32, "2026-11-21", table, QUARANTINE.empty_table(), provenance(len(items)))
    return dataset.uri


def found(out: str, *rules: NamedRule, **settings: object) -> FilterRun:
    return filter_rows(out, FilterSettings.model_validate({"rules": rules, **settings}), ignore, dry_run=True)


CATALOG = {
    "a": Item(),
    "b": Item("https://a.cn\nwww.b.cn 红", None, (100, 400, 10_000), 0.1, "b.webp"),
    "c": Item("ＡＢ１２", None, (1, 1, 70), 0.3, "no-suffix"),
    "d": Item("こ 👗", None, (60_000, 50_000, 30), None, "d.tif"),
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("computed") / "out", CATALOG)


VALUES: dict[str, tuple[float | str | None, ...]] = {
    "aspect_ratio": (4 / 3, 0.25, 1, 1.2),
    "megapixels": (0.48, 0.04, 1e-6, 3000),
    "bytes_per_pixel": (0.125, 0.25, 70, 1e-8),
    "format": ("jpeg", "webp", None, "tiff"),
    "percentile": (200 / 3, 50 / 3, 200 / 3, None),
    "text_length": (10, 23, 4, 3),
    "text_lines": (1, 2, 1, 1),
    "text_urls": (0, 2, 0, 0),
    "text_han": (5 / 8, 1 / 21, 0, 0),
    "text_latin": (1 / 8, 14 / 21, 1 / 2, 0),
    "text_digits": (1 / 8, 0, 1 / 2, 0),
    "text_other": (1 / 8, 6 / 21, 0, 1),
}


def equals(column: str, value: float | str | None) -> str:
    if isinstance(value, str):
        return f"{column} = '{value}'"
    return f"{column} is null" if value is None else f"abs({column} - {value}) <= 1e-9 * greatest(1, abs({value}))"


def test_computed_columns_have_their_values(out: str) -> None:
    rules = [
        NamedRule(name=f"{column} of {id_}", sql=f"id <> '{id_}' or {equals(column, value)}")
        for column, values in VALUES.items()
        for id_, value in zip(CATALOG, values, strict=True)
    ]
    assert [rule.name for rule in found(out, *rules).filtered.counts.rules if rule.dropped] == []


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.jpg?x-oss-process=image/resize,w_800", "jpeg"),
        ("a.webp!w800", "webp"),
        ("a.PNG@80w", "png"),
        ("a.tif:large", "tiff"),
        ("shard.tar#b/a.jpe", "jpeg"),
        ("v1.2/a", None),
    ],
)
def test_a_format_is_that_of_the_name_before_what_servers_append(name: str, format_: str | None) -> None:
    column = next(one for one in COMPUTED if one.name == FORMAT)
    with Workspace() as work:
        assert work.rows(f"SELECT {column.sql} FROM (SELECT 'https://shop.cn/{name}' AS image_uri)") == [(format_,)]


def test_every_computed_column_is_tested_and_documented() -> None:
    assert [*VALUES] == [column.name for column in COMPUTED]
    cells = table_after("computed columns")
    assert cells == [[f"`{c.name}`", ", ".join(f"`{name}`" for name in c.needs), c.help] for c in COMPUTED]
    assert [row[:2] for row in table_after("signals")] == [[str(signal), f"`{signal.column}`"] for signal in Signal]


def table_after(marker: str) -> list[list[str]]:
    rows = DOC.split(f"<!-- {marker} -->\n")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_a_cut_off_can_be_found_in_a_computed_column_and_signals_know_their_better_end(out: str) -> None:
    cut = found(out, threshold_for="megapixels keep=25%").filtered.cut
    assert (cut.rule.sql, cut.above + cut.equal) == ('"megapixels" >= 3000.0', 1)  # type: ignore[union-attr]
    assert found(out, threshold_for="image_dark keep=25%").filtered.cut.lowest  # type: ignore[union-attr]


def test_the_datasets_own_column_comes_before_a_computed_one(tmp_path: Path) -> None:
    extra = pa.schema([("format", pa.string())])
    own = written(tmp_path / "out", {"a": Item()}, extra=extra)
    assert found(own, where="format = ''").filtered.counts.kept == 1


def test_what_a_dataset_lacks_for_a_column_is_named(tmp_path: Path) -> None:
    old = written(tmp_path / "out", {"a": Item()}, format_version=2, signals=())
    for rule, message in (
        ("bytes_per_pixel > 1", "computed from image_bytes and image_width and image_height, which this dataset does"),
        ("image_entropy > 1", "Embed into another OUT with --signals entropy"),
    ):
        with pytest.raises(UsageError, match=message):
            found(old, where=rule)
    assert found(old, where="aspect_ratio > 1").filtered.counts.kept == 1


def test_orders_know_computed_columns(tmp_path: Path) -> None:
    out = written(tmp_path / "out", {"a": Item(), "b": Item(size=(100, 100, 50_000))})
    dedup(out, DedupSettings(rungs=("image",), keep_sql="bytes_per_pixel DESC"))
    assert found(out, where="keep = (id = 'b')").filtered.counts.kept == 2


def test_the_shipped_rules_drop_what_they_name(tmp_path: Path) -> None:
    rules = [NamedRule(name=rule.name, sql=rule.sql) for rule in read_rules(ROOT / "docs" / "rules.yaml")]
    wrong = {
        "large": Item(size=(90, 120, 60_000)),
        "usual shape": Item(size=(6000, 1000, 600_000)),
        "not crushed": Item(size=(800, 600, 9_000)),
        "not dark": Item(image=photo().point(lambda level: level // 4)),
        "not overexposed": Item(image=photo().point(lambda level: 241 + level // 18)),
        "not blurred": Item(image=photo().filter(ImageFilter.GaussianBlur(5))),
        "some content": Item(image=Image.new("RGB", (224, 224), "#888")),
        "not mostly border": Item(image=bordered()),
        "a caption": Item("红"),
        "Chinese": Item("a red dress"),
        "no advertisement": Item("红色连衣裙很好看质量好价格便宜 www.a.cn"),
    }
    out = written(tmp_path / "out", {"right": Item(), **wrong})
    settings = FilterSettings(rules=tuple(rules))
    assert filter_rows(out, settings, ignore).filtered.counts.kept == 1
    dropped = pq.read_table(f"{out}/filter/default/dropped.parquet").to_pylist()
    assert {row["id"]: row["rules"] for row in dropped} == {
        **{name: [name] for name in wrong},
        "not overexposed": ["not overexposed", "not mostly border"],
        "some content": ["not blurred", "some content", "not mostly border"],
        "not mostly border": ["some content", "not mostly border"],
    }
