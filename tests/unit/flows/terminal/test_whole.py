"""Tables on narrow terminals: hashes, ids and paths stay on one line, and no line has a frame or blanks around them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from flows.terminal.marked import Code, Marked
from flows.terminal.panels import panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table

DIGEST = "0123456789abcdef" * 4
FOLDER = "/data/my pictures/2026/out"
SENTENCE = "not finished: the next compaction goes on with it; readers see the old files"


def drawn(what: object, width: int) -> list[str]:
    file = io.StringIO()
    print_table(what, Console(file=file, width=width, highlight=False))  # type: ignore[arg-type]
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [10, 40, 82, 83, 300])
def test_facts_keep_their_words_whole(width: int) -> None:
    pairs = [
        ("model sha256", DIGEST),
        ("compaction", SENTENCE),
        ("written", Marked("to ", Code(FOLDER), ", 3 files")),
        ("vocabulary", f"sha256 {DIGEST}, texts of up to 52 tokens"),
    ]
    title = f"status of {FOLDER}"
    lines = drawn(panel(title, pairs), width)
    text = "\n".join(lines)
    assert text.count(DIGEST) == 2
    assert FOLDER in text.partition("\n")[0]
    assert f"to {FOLDER}, 3 files" in text
    is_framed = "│" in text
    assert is_framed is (width >= 83)
    assert all(len(line) == width for line in lines) if is_framed else all(line == line.rstrip() for line in lines)
    words = [word for line in lines for word in line.replace("│", "").split()]
    assert all(word in words for word in SENTENCE.split())


def hits() -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("similarity", justify="right")
    table.add_column("id", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_row("0.4312", plain("shelf 2/02 red apple of the long name.jpg"), plain("红色连衣裙" * 12))
    return table


@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_a_column_of_ids_is_never_broken_and_one_of_captions_is(width: int) -> None:
    text = "\n".join(drawn(hits(), width))
    assert "shelf 2/02 red apple of the long name.jpg" in text
    assert sum(text.count(character) for character in "红色连衣裙") == 60
    assert ("红色连衣裙" * 12 in text) is (width == 200)


def test_what_fits_is_drawn_as_ever() -> None:
    first, *_, last = drawn(panel("plan", [("rows", "7")]), 30)
    assert (first[0], first[-1], last[0], last[-1], len(first)) == ("╭", "╮", "╰", "╯", 30)
