"""Facts have the same content on a terminal and on a Markdown page."""

from __future__ import annotations

from rich.console import Console

from flows.facts.dedup import dedup_facts
from flows.facts.filter import filter_facts
from flows.facts.run import left_out
from flows.scheduled.pages.markup import fact_table
from flows.terminal.marked import Facts
from flows.terminal.panels import facts
from pipeline.stats import Skipped, sum_skipped
from pipeline.vocabulary import Skip

RULE = {"name": "size", "sql": "image_width\n >= 200", "dropped": 4, "first": 4, "alone": 3, "unknown": 1}
FILTERED = {
    "rows": 10,
    "kept": 5,
    "dropped": 5,
    "rules": [RULE, {**RULE, "name": "threshold", "sql": '"price (元)" <= 0.25'}],
    "together": [{"rules": ("size", "threshold"), "dropped": 1}],
    "threshold": {"column": "price (元)", "value": 0.25, "rows": 6, "without_value": 1, "above": 3, "equal": 2},
    "written": {
        "tables": "out/filter/clean",
        "uri": "out|tars",
        "written": 4,
        "failed": 1,
        "reasons": {"timeout": 1},
        "tars": 1,
        "size_bytes": 2000,
    },
}
FOUND = {
    "uri": "out/dedup/dedup.parquet",
    "rungs": ["bytes"],
    "rows": 10,
    "kept": 8,
    "dropped": 2,
    "groups": 1,
    "by_rung": {"bytes": 2},
    "largest": [("bytes", 3)],
    "lowest_cosine": None,
    "vectors": 0,
    "new_vectors": 0,
    "compared": 0,
}


def drawn(pairs: Facts) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(facts(pairs))
    return captured.get()


def test_filter_facts_are_the_same_on_a_terminal_and_on_a_page():
    terminal, page = drawn(filter_facts(FILTERED)), fact_table(filter_facts(FILTERED))
    assert page.startswith("| rows | 10 = 5 kept (50 %) + 5 dropped |\n| --- | --- |\n")
    for text in (terminal, page):
        assert "10 = 5 kept (50 %) + 5 dropped" in text
        assert "size and threshold 1" in text
        assert "; 1 row has no price (元) and is dropped" in text
        assert "keeps 5 of 6 rows that the other rules keep; 2 rows have this very value" in text
        assert "5 kept = 4 written + 1 failed (timeout 1)" in text
    assert '"price (元)" <= 0.25 keeps' in terminal
    assert "1 tar, 2.0 kB: out|tars" in terminal
    assert '`"price (元)" <= 0.25` keeps' in page
    assert "1 tar, 2.0 kB: `out\\|tars`" in page


def test_dedup_facts_are_the_same_on_a_terminal_and_on_a_page():

    for text in (drawn(dedup_facts(FOUND)), fact_table(dedup_facts(FOUND))):
        assert "10 = 8 kept + 2 dropped" in text
        assert "bytes 2" in text
        assert "3 rows (bytes)" in text
        assert "vectors" not in text
    assert "`out/dedup/dedup.parquet`" in fact_table(dedup_facts(FOUND))


def test_what_was_left_out_is_the_same_on_a_terminal_and_on_a_page():
    found = [Skipped(Skip.LONE_TEXT, 1, "a|b.txt"), Skipped("newer", 1, "x"), Skipped(Skip.NO_SUFFIX, 1, "s3://b/p")]
    known = sum_skipped([*found, Skipped(Skip.LONE_TEXT, 1200, "c.txt")])
    terminal, page = drawn(left_out(known)), fact_table(left_out(known))
    texts = "1,201 texts without an image of the same name, such as"
    assert page.splitlines()[2:] == [
        f"| left out | {texts} `a\\|b.txt`. The text of a.jpg has to be called a.txt. |",
        "| left out | 1 item (newer), such as `x` |",
    ]
    assert "1 file without a suffix, such as s3://b/p. Images that a table names need no suffix" in terminal
    assert f"{texts} a|b.txt" in terminal


def test_every_kind_of_skipped_entry_has_words():
    assert not [kind for kind in Skip if f"({kind})" in Skipped(kind, 1, "").what]
