"""Test the profiles of columns against values that are counted in Python."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.dataset.dataset import Dataset
from pipeline.dataset.schema import QUARANTINE
from pipeline.report.charts import nice_edges
from pipeline.report.columns.profile import ColumnProfile
from pipeline.report.columns.read import MOST_PARTS, ColumnProfiles, column_profiles
from pipeline.report.columns.texts import clock_text, number_text
from pipeline.report.material import Material
from pipeline.report.page import render
from pipeline.report.sections.columns import columns
from tests.fixtures.datasets import an_identity, embedded_rows, provenance, some_records

LONG = "长" * 5000


def profiled(out: Path, columns: Mapping[str, pa.Array], whole_rows: int = 1000) -> ColumnProfiles:
    rows = len(next(iter(columns.values())))
    identity = an_identity(extra=pa.schema([(name, values.type) for name, values in columns.items()]))
    dataset = Dataset.open_or_create(str(out), identity)
    table = embedded_rows(some_records(rows), an_identity())
    for name, values in columns.items():
        table = table.append_column(name, values)
    for start in range(0, rows, 512):
        part = table.slice(start, 512)
        dataset.write_shard(
            f"{start + 1:032x}", "2026-11-21", part, QUARANTINE.empty_table(), provenance(part.num_rows)
        )
    with Material(dataset.uri, lambda *_: None) as material:
        return column_profiles(material, whole_rows)


def by_path(found: ColumnProfiles) -> dict[tuple[str, ...], ColumnProfile]:
    return {tuple(profile.path): profile for profile in found.columns}


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], ColumnProfile]:
    """Profiles of four rows of many types, with names that are no SQL."""
    struct = pa.struct([("color", pa.string()), ("COLOR", pa.int32()), ('p."q', pa.struct([("w", pa.float64())]))])
    zoned = pa.timestamp("ns", "Asia/Shanghai")
    columns = {
        "价格 (元)": pa.array(
            [Decimal("1234567890123.45"), Decimal("-2.50"), None, Decimal("-2.50")], pa.decimal128(18, 2)
        ),
        'a.b"; DROP TABLE facts; --': pa.array(["x", "x", "", None]),
        "Case": pa.array([1, 2, 3, 4], pa.int8()),
        "case": pa.array([True, None, False, True]),
        "😀": pa.array([0.5, float("nan"), float("inf"), None]),
        "huge": pa.array([1.79e308, -1.79e308, 2.0, None]),
        "tags": pa.array([["红", "蓝"], ["红", None], [], None], pa.list_(pa.string())),
        "attrs": pa.array([{"color": "红", "COLOR": n, 'p."q': {"w": n / 2}} for n in range(3)] + [None], struct),
        "props": pa.array([[("k", 1)], [("k", 2), ("m", 3)], None, []], pa.map_(pa.string(), pa.int32())),
        "when": pa.array([datetime(2024, 1, 2, 3, tzinfo=UTC)] * 3 + [None], zoned),
        "day": pa.array([date(2024, 1, 1), date(2024, 1, 3), date(2024, 1, 3), None]),
        "clock": pa.array([time(1, 2, 3)] * 4),
        "far": pa.array([253402300800, None, None, None], pa.timestamp("s")),
        "blob": pa.array([b"", b"xyz", b"\xff\x00", None]),
        "word": pa.array(["猫", "狗", "猫", None]).dictionary_encode(),
        "long": pa.array([LONG, LONG, LONG + "x", None]),
        "none": pa.nulls(4),
        "deep": pa.array([[{"y": [[n]]}] for n in range(4)]),
        "vector": pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float16(), 2)),
        "large": pa.array([2**63, 2**63 + 1, 2**63 + 1, None], pa.uint64()),
    }
    return by_path(profiled(tmp_path_factory.mktemp("odd") / "out", columns))


@pytest.mark.parametrize(
    ("path", "nulls", "distinct", "frequent"),
    [
        (("价格 (元)",), 1, 2, [("−2.50", 2), ("1,234,567,890,123.45", 1)]),
        (('a.b"; DROP TABLE facts; --',), 1, 2, [("x", 2), ("", 1)]),
        (("Case",), 0, 4, [("1", 1), ("2", 1), ("3", 1), ("4", 1)]),
        (("case",), 1, 2, [("true", 2), ("false", 1)]),
        (("😀",), 1, 3, [("0.5", 1), ("inf", 1), ("nan", 1)]),
        (("tags",), 1, None, []),
        (("tags", "[]"), 1, 2, [("红", 2), ("蓝", 1)]),
        (("attrs", "color"), 1, 1, [("红", 3)]),
        (("attrs", "COLOR"), 1, 3, [("0", 1), ("1", 1), ("2", 1)]),
        (("attrs", 'p."q', "w"), 1, 3, [("0.0", 1), ("0.5", 1), ("1.0", 1)]),
        (("props", "{key}"), 0, 2, [("k", 2), ("m", 1)]),
        (("when",), 1, 1, [("2024-01-02 03:00:00 UTC", 3)]),
        (("day",), 1, 2, [("2024-01-03", 2), ("2024-01-01", 1)]),
        (("clock",), 0, 1, [("01:02:03", 4)]),
        (("far",), 3, 1, [("10,000 CE", 1)]),
        (("blob",), 1, None, []),
        (("word",), 1, 2, [("猫", 2), ("狗", 1)]),
        (("long",), 1, 2, [(LONG[:80], 2), (LONG[:80], 1)]),
        (("none",), 4, None, []),
        (("large",), 1, 2, [("9,223,372,036,854,775,809", 2), ("9,223,372,036,854,775,808", 1)]),
        (("run_date",), 0, 1, [("2026-11-21", 4)]),
        (("image_format",), 0, 1, [("JPG", 4)]),
    ],
)
def test_values_are_counted(
    odd: dict[tuple[str, ...], ColumnProfile],
    path: tuple[str, ...],
    nulls: int,
    distinct: int | None,
    frequent: list[tuple[str, int]],
) -> None:
    found = odd[path]
    assert not found.failure
    assert (found.nulls, found.distinct, found.distinct_exact, found.sampled) == (nulls, distinct, True, 0)
    assert [(one.text, one.rows) for one in found.frequent] == frequent


def test_numbers_times_and_lengths_are_distributed(odd: dict[tuple[str, ...], ColumnProfile]) -> None:
    def ends(*path: str) -> tuple[str, str, str]:
        spread = odd[path].spread
        assert spread
        assert sum(spread.bins) == odd[path].rows - odd[path].nulls - spread.not_finite
        return spread.least, spread.values[2], spread.greatest

    assert ends("Case") == ("1", "2.5", "4")
    assert ends("day") == ("2024-01-01", "2024-01-03", "2024-01-03")
    assert ends("tags") == ("0", "2", "2")
    assert ends("blob") == ("0", "2", "3")
    assert ends("long") == ("5,000", "5,000", "5,001")
    assert ends("vector", "[]") == ("1", "1.5", "2")
    assert ends("😀") == ("0.5", "0.5", "0.5")
    assert ends("huge") == ("2", "2", "2")
    for name in ("😀", "huge"):
        assert odd[name,].spread.not_finite == 2  # type: ignore[union-attr]
    assert [one.is_cut for one in odd["long",].frequent] == [True, True]
    assert max(len(path) for path in odd) == 4  # of five levels


def test_columns_of_the_source_may_have_names_that_the_report_uses(tmp_path: Path) -> None:
    names = ("place", "image_format", "row", "c0")
    found = profiled(tmp_path / "out", {name: pa.array([name, name, "x"]) for name in names})
    assert [(*one.path, one.frequent[0].text, one.own) for one in found.columns[:4]] == [(n, n, True) for n in names]
    [made] = [one for one in found.columns if one.path == ["image_format"] and not one.own]
    assert made.frequent[0].text == "JPG"
    assert found.left_out == 0


def test_many_rows_and_columns_are_bounded(tmp_path: Path) -> None:
    rows = 1100
    columns: dict[str, pa.Array] = {"n": pa.array(np.arange(rows)), "half": pa.array([None, 1] * (rows // 2))}
    columns |= {f"column {n}": pa.nulls(rows, pa.int8()) for n in range(MOST_PARTS)}
    found = profiled(tmp_path / "out", columns, whole_rows=600)
    number, half = found.columns[:2]
    assert len(found.columns) == MOST_PARTS
    assert found.left_out == len(columns) + 7 - 2 - MOST_PARTS
    assert (half.rows, half.nulls, half.distinct_exact) == (rows, rows // 2, False)
    assert number.distinct == pytest.approx(rows, rel=0.15)
    assert 0 < number.sampled == found.sampled <= 600
    assert sum(number.spread.bins) == number.sampled  # type: ignore[union-attr]


def test_few_far_values_do_not_squeeze_the_others(tmp_path: Path) -> None:
    values = pa.array([*np.linspace(0, 10, 998), 1e6, 1e7])
    [found] = [one for one in profiled(tmp_path / "out", {"price": values}, 2000).columns if one.path == ["price"]]
    assert found.spread
    assert (found.spread.greatest, found.spread.beyond) == ("10,000,000", 2)
    assert max(found.spread.bins) < 200


def test_small_numbers_are_spread_over_the_whole_width(tmp_path: Path) -> None:
    found = profiled(tmp_path / "out", {"small": pa.array(np.linspace(-1e-9, -3e-12, 300))})
    [spread] = [one.spread for one in found.columns if one.path == ["small"]]
    assert spread
    assert len(spread.bins) >= 20
    assert min(spread.bins) > 0
    assert nice_edges(2e-13, 3e-13, 10) == pytest.approx([n * 1e-14 for n in range(20, 32)], rel=1e-6)


def test_values_are_told_apart_where_they_are_shown_in_short(tmp_path: Path) -> None:
    values = {
        "large": pa.array([2**62, 2**62 + 1] * 2),
        "url": pa.array([f"https://shop.example/items/2026/item/{n % 2}" for n in range(4)]),
    }
    found = profiled(tmp_path / "out", {**values, "blank": pa.array(["", " ", "x", " "])})
    html = render("sections/columns.html.j2", columns=columns(found))
    for text in (
        "4,611,686,018,427,387,904",
        "4,611,686,018,427,387,905",
        "/2026/item/1",
        "(blanks only)",
        "(empty text)",
    ):
        assert f"{text}<" in html


def test_one_day_is_one_bin_whatever_the_number_of_rows(tmp_path: Path) -> None:
    for rows in (41, 44):  # the quantiles of some numbers of equal values are a bit larger than these
        found = profiled(tmp_path / str(rows), {"day": pa.array([date(2026, 11, 30)] * rows)})
        [day] = [one for one in found.columns if one.path == ["day"]]
        assert day.spread
        assert day.spread.bins == [rows]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567.0, "1,234,567"), (-0.123456789, "−0.123457"), (12.5, "12.5"), (1e20, "1e+20"), (100000.5, "100,000")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_times_of_day() -> None:
    assert clock_text(86399.0) == "23:59:59"
