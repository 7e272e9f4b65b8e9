from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import main
from flows.dev import stack, state
from flows.dev.ports import Ports, choose, refuse_others
from flows.dev.state import Place, StackState, usable
from pipeline.errors import ConfigError, RunError


@pytest.fixture
def ports() -> Ports:
    return choose({}, None)


def test_another_port_than_that_of_a_running_stack_is_refused_with_the_cure(ports: Ports) -> None:
    refuse_others({"prefect": ports.prefect}, ports)
    with pytest.raises(ConfigError, match="hanclip dev down, then hanclip dev up --s3-port 1234"):
        refuse_others({"prefect": ports.prefect, "s3": 1234}, ports)


@pytest.mark.parametrize("use", [lambda folder: stack.up(folder, {}), stack.down], ids=["up", "down"])
def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path, use: Callable[[Path], object]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file.*make it writable and free space, or give another folder with --folder"):
        use(tmp_path / "file")


def test_a_full_disk_is_named_with_the_cure(tmp_path: Path, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place.at(tmp_path / "stack")
    (place.folder / "stack.part").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"stack: No space left on device\. .*free space"), usable(place.folder):
        place.save(StackState(ports=ports, scratch=tmp_path))
    monkeypatch.setattr(state, "_FREE_BYTES", 2**60)
    with pytest.raises(RunError, match=r"MiB left, and the stack needs .*: free space"):
        place.check_space(tmp_path)


def test_a_command_says_so_without_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        main(["dev", "up", "--folder", str(tmp_path / "file" / "stack")])
    shown = capsys.readouterr().err
    assert ended.value.code == 1
    assert "Not a directory" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("name", ["x" * 90, "中文"])
def test_temporary_files_have_a_short_path_in_ascii(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
    scratch = Place.find(tmp_path).scratch()
    try:
        assert scratch.parent == Path("/tmp")
        assert scratch.stat().st_mode & 0o077 == 0
        assert scratch == Place.find(tmp_path).scratch()
    finally:
        scratch.rmdir()
