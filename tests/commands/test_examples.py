"""Run the scripts of `examples/`, and check what they print and write.

Of three the shell runs for real and their commands in this process, two of them on the demo dataset. A client of the
search service is tested with the server (tests/commands/test_serve.py). The night over a bucket takes five minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from tests.fixtures.examples import EXAMPLES, Example


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, demo_dataset: Path) -> Path:
    """A folder of results in which the catalog is embedded already: the same command then has nothing to do."""
    folder = tmp_path_factory.mktemp("examples") / "results"
    shutil.copytree(demo_dataset, folder / "out")
    return folder


def test_every_example_is_in_the_table_and_has_a_short_page_that_names_its_files() -> None:
    folders = {path.parent.name for path in EXAMPLES.glob("*/run")}
    table = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert folders == set(re.findall(r"\]\(([\w-]+)/README\.md\)", table)) != set()
    for name in folders:
        page = (EXAMPLES / name / "README.md").read_text(encoding="utf-8")
        assert len(page.splitlines()) <= 60
        named = set(re.findall(r"^\| `([\w.-]+)` \|", page, re.MULTILINE))
        assert {path.name for path in (EXAMPLES / name).iterdir() if path.is_file()} - {"README.md"} <= named, name


def test_copies_are_found_and_left_out(results: Path) -> None:
    printed = Example("dedup").run(results)
    assert "exact duplicates: 40 of 40 found" in printed
    assert (results / "report.html").exists()
    assert (results / "out" / "dedup" / "suggest.html").exists()
    rows, kept = (pads.dataset(results / name / "embeddings").count_rows() for name in ("out", "clean"))
    assert 1500 < kept < rows - 40


def test_tars_are_read_in_a_training_loop(results: Path) -> None:
    printed = Example("train").run(results, "--steps", "3", "--batch", "32", "--workers", "0")
    assert re.search(r"\d+ tars to train on, \d+ pairs held out", printed)
    assert re.search(r"step 3: loss \d\.\d+, recall@10", printed)


@pytest.mark.usefixtures("local_ray")
def test_two_models_are_compared(tmp_path: Path) -> None:
    printed = Example("compare").run(tmp_path / "results", "--limit", "200")
    rows = re.findall(r"^text-to-image +(\w+) +([\d.]+)", printed, re.MULTILINE)
    assert [name for name, _ in rows] == ["demo", "pruned"]
    assert re.search(r"another nearest picture for [1-9]\d* of \d+ captions", printed)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("HANCLIP_EXAMPLES"), reason="needs 3 GB and five minutes: HANCLIP_EXAMPLES=1")
def test_a_night_over_a_bucket(tmp_path: Path) -> None:
    here = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    try:
        done = subprocess.run(
            [EXAMPLES / "nightly-s3" / "run", tmp_path], env=here, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"embedded +1,928 rows in 4 shards", done.stdout), done.stdout
    finally:
        subprocess.run([sys.executable, "-m", "flows.cli", "dev", "down", "--folder", tmp_path / "stack"], check=True)
