"""The folder of a local Ray, whatever TMPDIR is."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.machine.local import ray_folder
from actors.machine.local.ray_folder import make_ray_folder
from pipeline.errors import RunError


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder, which the folders of a test runner are not; it is TMPDIR, and RAY_TMPDIR is not set."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="h-", dir="/tmp") as place:
        monkeypatch.setenv("TMPDIR", place)
        yield Path(place)


def fill(folder: Path) -> None:
    """What Ray leaves in its folder."""
    for name in ("logs/raylet.out", "sockets/raylet", "spilled/object"):
        path = folder / "session_x" / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
    (folder / "session_latest").symlink_to(folder / "session_x")


def test_the_folder_is_in_tmpdir_and_is_removed(place: Path) -> None:
    folder = make_ray_folder()
    assert folder.path.parent == place
    assert folder.spill is None
    fill(folder.path)
    folder.remove()
    assert list(place.iterdir()) == []


def test_after_a_failure_the_logs_stay_and_nothing_else(place: Path) -> None:
    folder = make_ray_folder()
    fill(folder.path)
    kept = Path(folder.keep_logs())
    folder.remove()
    assert [path.name for path in kept.rglob("*") if path.is_file() and not path.is_symlink()] == ["raylet.out"]


def test_old_folders_of_killed_runs_are_removed_and_those_in_use_are_not(place: Path) -> None:
    old, used, new = (make_ray_folder() for _ in range(3))
    for folder in (old, new):
        os.close(folder._lock)
    for folder in (old, used):
        os.utime(folder.path, (time.time() - 1e6, time.time() - 1e6))
    make_ray_folder().remove()
    assert sorted(path.name for path in place.iterdir()) == sorted([used.path.name, new.path.name])


@pytest.mark.parametrize("name", ["x" * 90, "商品"])
def test_an_unsuitable_tmpdir_is_replaced(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    wanted = place / name
    wanted.mkdir()
    monkeypatch.setenv("TMPDIR", str(wanted))
    folder = make_ray_folder()
    assert folder.path.parent == Path("/tmp")
    # A long path is no obstacle for spilled objects.
    assert (folder.spill.parent if folder.spill else None) == (wanted if name.isascii() else None)
    assert str(wanted) in caplog.text
    folder.remove()
    assert not folder.path.exists()
    assert list(wanted.iterdir()) == []


def test_a_tmpdir_that_does_not_exist_is_replaced(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place / "none"))
    folder = make_ray_folder()
    assert folder.path.parent == Path("/tmp")
    folder.remove()


def test_without_a_suitable_folder_each_is_named_with_its_fault(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_folder, "_FREE_BYTES", 2**60)
    with pytest.raises(RunError, match=rf"{place} has only .* left; /tmp has only .* left.*Free some space"):
        make_ray_folder()


def test_the_users_own_folder_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    folder = make_ray_folder()
    fill(folder.path)
    folder.remove()
    assert (place / "ray" / "session_x" / "spilled" / "object").exists()
    monkeypatch.setenv("RAY_TMPDIR", str(place / ("x" * 90)))
    with pytest.raises(RunError, match=r"RAY_TMPDIR: .* characters too long"):
        make_ray_folder()
