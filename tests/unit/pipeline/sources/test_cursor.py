"""A cursor reads on where it can, and starts again only for what it no longer keeps."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.sources.cursor import Cursor, CursorItem


def test_what_is_read_again_counts_once_against_the_memory_of_a_cursor() -> None:
    starts: list[int] = []

    def open_at(position: int) -> Iterator[CursorItem[str]]:
        starts.append(position)
        yield from (CursorItem(place, f"item {place}", 8) for place in range(10))

    cursor = Cursor(open_at, keep_bytes=100)
    for _ in range(3):
        assert cursor.take([10]) == {}  # beyond the end: each time the whole container is read
    assert cursor.take([0, 9]) == {0: "item 0", 9: "item 9"}
    assert starts == [10, 10, 10]
