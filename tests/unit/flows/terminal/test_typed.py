"""The words of a command line: bytes in GBK become text, names on the disk stay bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.terminal.typed import as_text
from pipeline.errors import ConfigError

GBK = os.fsdecode("红裙".encode("gbk"))


def test_bytes_that_are_not_utf_8_are_read_as_gb18030(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["search", "out", GBK, "红裙", f"--text={GBK}", "a" * 300 + GBK]
    assert as_text(words) == ["search", "out", "红裙", "红裙", "--text=红裙", "a" * 300 + "红裙"]
    Path(GBK).mkdir()
    assert as_text([GBK, f"{GBK}/new.html"]) == [GBK, f"{GBK}/new.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "out", ""], "Argument 3 is empty"),
        (["search", "out", "--text", "\u3000"], "The value of --text is empty"),
        (["search", "out", "--text="], "The value of --text is empty"),
        (["report", "out", "--to", "-"], "The value of --to is -"),
        (["status", "a\0"], "Argument 2, 'a\\\\x00', holds a NUL character"),
        (["status", "\udcff\udcff"], "neither UTF-8 nor GB18030"),
        (["status", "\ud83d"], "neither UTF-8 nor GB18030"),
    ],
)
def test_words_that_can_only_be_mistakes_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        as_text(words)
