"""Scratch folders: removed at the end, and by the next process if their own was killed. Others stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.scratch.folder import ScratchFolder, remove_abandoned
from tests.fixtures.places import ROOT

HOLD = "from pipeline.scratch.folder import ScratchFolder; s = ScratchFolder(); print(s.path, flush=True); input()"


@pytest.fixture(autouse=True)
def tmpdir_of_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def hold(tmp_path: Path) -> tuple[subprocess.Popen[str], Path]:
    """Another process with a scratch folder, in which there is a file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    folder = Path(process.stdout.readline().strip())
    (folder / "spill").mkdir()
    (folder / "spill" / "rows").write_text("rows")
    return process, folder


def test_a_folder_exists_as_long_as_it_is_used(tmp_path: Path) -> None:
    with ScratchFolder() as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    (killed, abandoned), (living, used) = hold(tmp_path), hold(tmp_path)
    with living, killed:
        remove_abandoned(str(tmp_path))
        assert abandoned.exists()
        killed.kill()
        killed.wait()
        with ScratchFolder() as folder:
            assert set(tmp_path.iterdir()) == {used, folder}
        living.communicate("\n")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_another_name_a_file_and_a_link_stay(tmp_path: Path) -> None:
    for name in ("hanclip-demo", "hanclip-scratch-", "hanclip-scratch-of-mine", "hanclip-scratch-abcdefgh.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "hanclip-scratch-abcdefgh").touch()
    (tmp_path / "hanclip-scratch-abcdefgi").symlink_to(tmp_path / "hanclip-demo")
    before = set(tmp_path.iterdir())
    remove_abandoned(str(tmp_path))
    assert set(tmp_path.iterdir()) == before


def test_a_folder_that_another_process_removes_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, made = tempfile.mkdtemp, list[str]()

    def made_and_removed_once(**options: str) -> str:
        made.append(make(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", made_and_removed_once)
    with ScratchFolder() as folder:
        assert (str(folder), len(made)) == (made[1], 2)
