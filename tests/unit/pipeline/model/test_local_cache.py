"""What is put into the cache appears whole, and for whom the umask lets: users may share a cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from pipeline.errors import ModelError
from pipeline.model.files.modelscope import snapshot
from pipeline.model.local.cache import appearing_whole, file_sha256, write_atomically


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return S_IMODE(path.stat().st_mode)


def test_the_umask_decides_who_reads_the_cache(tmp_path: Path) -> None:
    folder, text = tmp_path / "models" / "a", tmp_path / "digests" / "b"
    with appearing_whole(folder) as staged:
        (staged / "weights").touch()
        assert not folder.exists()
    write_atomically(text, "digest")
    assert [mode(path) for path in (folder, folder / "weights", text)] == [0o750, 0o640, 0o640]
    assert [path.name for path in (*folder.parent.iterdir(), *text.parent.iterdir())] == ["a", "b"]


def test_of_two_that_fill_a_folder_the_first_wins(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with appearing_whole(folder) as late:
        (late / "late").touch()
        with appearing_whole(folder) as first:
            (first / "first").touch()
    assert [path.name for path in folder.iterdir()] == ["first"]
    with pytest.raises(ZeroDivisionError), appearing_whole(tmp_path / "b"):
        1 / 0  # noqa: B018 - fails while the folder is filled
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_damaged_digest_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path / "cache"))
    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    digest = file_sha256(weights)
    [kept] = (tmp_path / "cache" / "sha256").iterdir()
    for damage in (b"", b"\xff"):
        kept.write_bytes(damage)
        assert (file_sha256(weights), kept.read_text()) == (digest, digest)


@pytest.mark.parametrize("pointer", [b"", b"..", b"\xff"])
def test_a_damaged_pointer_leads_to_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pointer: bytes) -> None:
    monkeypatch.setenv("HANCLIP_CACHE", str(tmp_path))
    home = tmp_path / "modelscope" / "ORG--NAME"
    home.mkdir(parents=True)
    (home / "master.newest").write_bytes(pointer)
    with pytest.raises(ModelError, match="is not on this machine yet"):
        snapshot("modelscope:ORG/NAME", None, fetch=False)
