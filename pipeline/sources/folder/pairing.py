"""Pairs images with the text files of the same name (`a.jpg`, `a.txt`), and counts the files that belong to no record.

In: the listing of a folder. Out: its images, each with its text if there is one. A text belongs to every image of its
name, so `a.jpg` and `a.png` share `a.txt`, on a disk and in a bucket alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline import storage
from pipeline.sources.names import is_image, stem_of, why_not
from pipeline.sources.skipped import SkipTally
from pipeline.storage import ObjectInfo
from pipeline.vocabulary import Skip

Pair = tuple[ObjectInfo, ObjectInfo | None]

TEXT_SUFFIX = ".txt"
#: Unpaired texts that are kept as examples.
_EXAMPLES = 1000


def pairs_on_disk(listed: Iterator[ObjectInfo], tally: SkipTally) -> Iterator[Pair]:
    """Images with their texts, looked up one by one: a disk lists in any order."""
    texts = _TextsOnDisk()
    for info in listed:
        if is_image(info.uri):
            text = storage.find_local(f"{stem_of(info.uri)}{TEXT_SUFFIX}")
            if text:
                texts.pair(text.uri)
            yield info, text
        elif is_text(info.uri):
            texts.see(info.uri)
        else:
            tally.add(why_not(info.uri), info.uri)
    texts.report(tally)


def pairs_in_bucket(listed: Iterator[ObjectInfo], tally: SkipTally) -> Iterator[Pair]:
    """Images with their texts, from a listing in order: between two files of a name are only keys that begin with it.

    Such keys are `a.b.jpg` between `a.jpg` and `a.txt`, and everything in a folder `a.old/`. So a name is complete at
    the first key that does not begin with it, and few names are open at once.
    """
    opened: list[_Name] = []
    for info in listed:
        while opened and not info.uri.startswith(opened[-1].start):
            yield from opened.pop().pairs(tally)
        if not (is_image(info.uri) or is_text(info.uri)):
            tally.add(why_not(info.uri), info.uri)
            continue
        start = _start(info.uri)
        name = next((name for name in opened if name.start == start), None)
        if name is None:
            opened.append(name := _Name(start))
        name.add(info)
    while opened:
        yield from opened.pop().pairs(tally)


def is_text(uri: str) -> bool:
    """Whether a file name ends like a text's, in any case: `A.TXT` is a text, but only `A.txt` is that of `A.JPG`."""
    return uri.lower().endswith(TEXT_SUFFIX)


@dataclass(slots=True)
class _Name:
    """The files of one name: `start` is what their addresses begin with, up to the dot before the suffix."""

    start: str
    images: list[ObjectInfo] = field(default_factory=list)
    texts: list[ObjectInfo] = field(default_factory=list)

    def add(self, info: ObjectInfo) -> None:
        """An image or a text of this name."""
        (self.images if is_image(info.uri) else self.texts).append(info)

    def pairs(self, tally: SkipTally) -> Iterator[Pair]:
        """Its images with its text; texts that belong to none are counted."""
        own = next((info for info in reversed(self.texts) if info.uri.endswith(TEXT_SUFFIX)), None)
        for image in self.images:
            yield image, own
        for info in self.texts:
            if info is not own or not self.images:
                tally.add(Skip.LONE_TEXT, info.uri)


def _start(uri: str) -> str:
    """What the addresses of an image and of its text begin with."""
    stem = stem_of(uri)
    # An image that is called `jpg` has no name that a text could share.
    return f"{stem}." if len(stem) > uri.rfind("/") else f"{uri}/"


class _TextsOnDisk:
    """Finds texts without an image. Texts and images come in any order, so 8 bytes of each text are kept."""

    def __init__(self) -> None:
        self._seen, self._paired = array("q"), array("q")
        self._unpaired: dict[str, None] = {}

    def see(self, uri: str) -> None:
        """A text that is listed."""
        self._seen.append(hash(uri))
        if len(self._unpaired) < _EXAMPLES:
            self._unpaired[uri] = None

    def pair(self, uri: str) -> None:
        """A text that belongs to an image."""
        self._paired.append(hash(uri))
        self._unpaired.pop(uri, None)

    def report(self, tally: SkipTally) -> None:
        """Count the texts that were seen and not paired."""
        paired = np.array(self._paired, np.int64)
        lone = int(np.isin(np.array(self._seen, np.int64), paired, invert=True).sum())
        if lone:
            kept = list(self._unpaired)
            alone = np.isin(np.array([hash(uri) for uri in kept], np.int64), paired, invert=True)
            tally.add(Skip.LONE_TEXT, kept[int(alone.argmax())] if kept else "", lone)
