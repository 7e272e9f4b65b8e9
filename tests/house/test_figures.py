"""Test that the figures of the READMEs and of docs/benchmarks.md are those of the newest results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from benchmarks.figures.__main__ import pages
from benchmarks.figures.readme import figures
from benchmarks.figures.results import newest
from benchmarks.reporting import RESULTS, markdown
from tests.fixtures.places import ROOT


def test_pages_have_the_figures_of_the_newest_results() -> None:
    behind = [path.name for path, text, wanted in pages() if text != wanted]
    assert behind == [], "run `python -m benchmarks.figures`"


def test_a_newer_result_replaces_an_older_one_of_its_kind(tmp_path: Path) -> None:
    old = RESULTS / newest()["embed-tiny-640"].file
    result = json.loads(old.read_text(encoding="utf-8"))
    [own] = [row for row in result["rows"] if row["variant"] == "hanclip"]
    shutil.copy(old, tmp_path)
    own["steady_images_per_s"], result["finished"] = 98765.4, "2099-01-02T00:00:00+00:00"
    result["machine"]["cpu"] = "Another (R) CPU"
    (tmp_path / "embed-tiny-640-another-r-cpu-2-cores-2099-01-02.json").write_text(json.dumps(result))
    results = newest(tmp_path)
    assert set(results) == {"embed-tiny-640"}
    for language in ("en", "zh"):
        assert "98,765" in figures(results, language)
        assert "2099-01-02" in figures(results, language)


def test_a_table_without_rows_is_empty() -> None:
    assert markdown([]) == ""
    assert markdown([{"n": 1200, "of": None}]) == "| n | of |\n| --- | --- |\n| 1,200 |  |"


def test_results_that_a_page_names_exist() -> None:
    for name in ("docs/benchmarks.md", "docs/scale.md"):
        named = re.findall(r"`([\w.-]+-\d{4}-\d\d-\d\d\.json)`", (ROOT / name).read_text(encoding="utf-8"))
        assert named
        assert [file for file in named if not (RESULTS / file).exists()] == []


def test_the_tables_of_the_page_on_scale_have_rows_of_the_newest_results() -> None:
    """A line's numbers are all in one row of a result, rounded as they are shown."""
    results = newest()
    rows = [
        [value for value in row.values() if isinstance(value, (int, float))]
        for kind in ("scale", "scale-1e8", "history-nights", "history-scale")
        for row in results[kind].rows
    ]

    def is_in(cell: str, row: list[float]) -> bool:
        decimals = len(cell.partition(".")[2])
        return any(round(value, decimals) == float(cell.replace(",", "")) for value in row)

    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| [\d,]+ \|.*$", page, re.MULTILINE)
    assert len(lines) >= 20
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        numbers = [cell for cell in cells if re.fullmatch(r"[\d,.]+", cell)]
        assert any(all(is_in(cell, row) for cell in numbers) for row in rows), line
