"""Disks that fill up: OUT while files are written, TMPDIR while records are sorted. Named, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fixtures.places import ROOT
from tests.fixtures.small_disk import on_small_disk

FULL_OUT = """
import os, sys
from pathlib import Path
from pipeline import storage
from pipeline.errors import StorageError

out, source = sys.argv[1], Path(sys.argv[2])
for write in (
    lambda uri: storage.create(uri, bytes(20_000)),
    lambda uri: storage.overwrite(uri, bytes(20_000)),
    lambda uri: storage.upload(uri, source),
):
    for number in range(100):
        try:
            write(f"{out}/{number}")
        except StorageError as error:
            print(error)
            break
    whole = [str(n) for n in range(number)]
    assert sorted(os.listdir(out)) == whole, os.listdir(out)
    os.remove(f"{out}/0")
    write(f"{out}/{number}")
    for name in os.listdir(out):
        assert os.path.getsize(f"{out}/{name}") == 20_000
        os.remove(f"{out}/{name}")
"""
FULL_TMPDIR = """
from pipeline.errors import RunError
from pipeline.scratch.workspace import Workspace

with Workspace(memory_mb=16) as work:
    for order in ("ORDER BY h", ""):
        try:
            work.store("sorted", f"SELECT hash(range) AS h FROM range(3_000_000) {order}")
        except RunError as error:
            print(error)
"""


def run(folder: Path, size: str, script: str, *arguments: object, **env: str) -> list[str]:
    """The lines that the script prints, for which `folder` is a disk of this size."""
    done = subprocess.run(
        [*on_small_disk(folder, size), sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_full_out_is_named_and_keeps_whole_files_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(20_000))
    out = tmp_path / "out"
    lines = run(out, "64k", FULL_OUT, out, source)
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(f"No space left on device: {out}/")
        assert "Free some space there" in line


def test_a_temporary_folder_that_is_full_while_records_are_sorted_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    lines = run(folder, "2m", FULL_TMPDIR, TMPDIR=str(folder))
    assert len(lines) == 2
    for line in lines:
        assert line.startswith(f"No space left on device: {folder}/")
        assert "set TMPDIR to another folder" in line
