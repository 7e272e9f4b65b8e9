"""Hidden files of local writers: those of killed writers are removed, those that may be in use stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cli import main
from pipeline import storage
from pipeline.dataset.dataset import Dataset
from pipeline.storage.backends import staged
from tests.fixtures.catalogs import Catalog, skus
from tests.fixtures.datasets import an_identity, commit, some_records
from tests.fixtures.places import ROOT

DAYS_S = 2 * 86400
HOLD = (
    "import sys; from pipeline.storage.backends.staged import staged\n"
    "with staged(sys.argv[1]) as file:\n"
    "    file.write(b'part'); file.flush(); print(file.name, flush=True); input()"
)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that writes OUT/embeddings/dt=1/shard.parquet, and its hidden file."""
    final = tmp_path / "out" / "embeddings" / "dt=1" / "shard.parquet"
    final.parent.mkdir(parents=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(final)],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def by_another_machine(path: Path, age_s: float) -> Path:
    """The file as if another machine had written it."""
    *front, end = path.name.split(".")
    other = path.with_name(".".join([*front, f"{'0' * 8}{end[8:]}"]))
    path.rename(other)
    os.utime(other, (time.time() - age_s,) * 2)
    return other


def test_the_file_of_a_killed_writer_is_removed_and_that_of_a_living_one_stays(writer, tmp_path):
    process, hidden = writer
    os.utime(hidden, (0, 0))
    storage.remove_abandoned(str(tmp_path / "out"))
    assert hidden.exists(), "the writer lives, however old its file looks"
    process.kill()
    process.wait()
    storage.remove_abandoned(str(tmp_path / "out"))
    assert list(hidden.parent.iterdir()) == []


def test_the_file_of_another_machine_stays_until_it_is_old_by_the_clock_of_the_store(writer, tmp_path, monkeypatch):
    process, hidden = writer
    process.kill()
    process.wait()
    hidden = by_another_machine(hidden, age_s=60)
    monkeypatch.setattr(time, "time", lambda: time.monotonic() + 10 * DAYS_S)  # a clock that is ahead has no effect
    storage.remove_abandoned(str(tmp_path / "out"))
    assert list(hidden.parent.iterdir()) == [hidden]
    monkeypatch.undo()
    hidden = by_another_machine(hidden, age_s=DAYS_S)
    storage.remove_abandoned(str(tmp_path / "out"))
    assert list(hidden.parent.iterdir()) == []


def test_without_locks_the_age_decides(writer, tmp_path, monkeypatch):
    _, hidden = writer

    def no_locks(file: object, operation: int) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr(staged.fcntl, "flock", no_locks)
    storage.remove_abandoned(str(tmp_path / "out"))
    assert hidden.exists()
    os.utime(hidden, (time.time() - DAYS_S,) * 2)
    storage.remove_abandoned(str(tmp_path / "out"))
    assert not hidden.exists()


def test_other_hidden_files_and_linked_folders_stay(tmp_path):
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    for folder in (elsewhere, out):
        folder.mkdir()
        (folder / f".a.parquet.{staged._machine()}{'1' * 24}").touch()
    (out / "link").symlink_to(elsewhere)
    (out / ".gitignore").touch()
    (out / f"a.parquet.{'1' * 32}").touch()
    storage.remove_abandoned(str(out))
    assert sorted(path.name for path in out.iterdir()) == [".gitignore", f"a.parquet.{'1' * 32}", "link"]
    assert len(list(elsewhere.iterdir())) == 1


def test_a_writer_whose_new_file_is_taken_for_abandoned_makes_another(tmp_path, monkeypatch):
    lock, first = staged.fcntl.flock, []

    def remove_first(file, operation):
        if not first:
            first.append(file.name)
            os.unlink(file.name)
        lock(file, operation)

    monkeypatch.setattr(staged.fcntl, "flock", remove_first)
    storage.overwrite(str(tmp_path / "object"), b"bytes")
    assert first
    assert [path.name for path in tmp_path.iterdir()] == ["object"]


def test_a_plan_and_an_export_remove_what_killed_writers_left_in_their_folder(writer, tmp_path):
    process, hidden = writer
    process.kill()
    process.wait()
    catalog = Catalog(tmp_path)
    catalog.write("part-0", skus(10))
    catalog.plan()
    assert not hidden.exists()
    hidden = tmp_path / "npy" / f".rows.npy.{staged._machine()}{'1' * 24}"
    hidden.parent.mkdir()
    hidden.touch()
    commit(Dataset.open_or_create(str(tmp_path / "rows"), an_identity()), 1, some_records(50))
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "rows"), str(hidden.parent), "--to", "npy"])
    assert ended.value.code == 0
    assert not hidden.exists()
