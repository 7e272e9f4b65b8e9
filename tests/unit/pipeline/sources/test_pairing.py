"""Pairing of images with texts in a listing that is in order: by bytes, or folder by folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline.sources.folder.pairing import pairs_in_bucket
from pipeline.sources.skipped import SkipTally
from pipeline.storage import ObjectInfo

KEYS = [
    *("a.jpg", "a.txt", "a.b.jpg", "a.b.txt", "a-1.jpg", "a-1.txt", "a/2.jpg", "a/2.txt"),
    *("a.old/3.jpg", "a.old/3.txt", "a.old/deep.er/4.jpg", "a.old/deep.er/4.txt", "a.old/a.jpg"),
    *("c.png", "c.jpg", "c.txt", "d.JPG", "d.TXT", "lone.txt", "e.jpg?size=large", "e.txt", "jpg.txt"),
]
TEXTS = {
    **{f"{name}.jpg": f"{name}.txt" for name in ("a", "a.b", "a-1", "a/2", "a.old/3", "a.old/deep.er/4", "c")},
    "c.png": "c.txt",
    "e.jpg?size=large": "e.txt",
    "a.old/a.jpg": None,
    "d.JPG": None,
}


def listed(order: Callable[[str], object]) -> list[ObjectInfo]:
    keys = sorted((f"s3://my.bucket/in/{key}" for key in KEYS), key=order)  # type: ignore[arg-type]
    return [ObjectInfo(key, 1, key) for key in keys]


@pytest.mark.parametrize("order", [str.encode, lambda key: key.split("/")], ids=["by bytes", "by folder"])
def test_nothing_between_an_image_and_its_text_keeps_them_apart(order: Callable[[str], object]) -> None:
    tally = SkipTally()
    found = {
        image.uri.removeprefix("s3://my.bucket/in/"): text and text.uri.removeprefix("s3://my.bucket/in/")
        for image, text in pairs_in_bucket(iter(listed(order)), tally)
    }
    assert found == TEXTS
    assert [(kind.kind, kind.count) for kind in tally.skipped()] == [("lone_text", 3)]


def test_few_names_are_held_at_once_however_long_the_listing_is() -> None:
    seen = 0

    def listing() -> Iterator[ObjectInfo]:
        nonlocal seen
        for number in range(1000):
            for suffix in ("jpg", "txt"):
                seen += 1
                yield ObjectInfo(f"s3://b/img.{number:04}.{suffix}", 1, "")

    pairs = pairs_in_bucket(listing(), SkipTally())
    assert next(pairs)[1] is not None
    assert seen == 3
