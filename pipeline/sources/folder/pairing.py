"""Pairs images with the text files of the same name (`a.jpg`, `a.txt`), and counts the files that belong to no record.

In: the listing of a folder. Out: its images, each with its text if there is one. A text belongs to every image of its
name, so `a.jpg` and `a.png` share `a.txt`, on a disk and in a bucket alike.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import groupby

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
    """Images with their texts: a bucket lists in order, so they are neighbours."""
    for _stem, neighbours in groupby(listed, key=_first_stem):
        group = list(neighbours)
        texts = {stem_of(info.uri): info for info in group if info.uri.endswith(TEXT_SUFFIX)}
        lone = {info.uri for info in group if is_text(info.uri)}
        for info in group:
            if is_image(info.uri):
                text = texts.get(stem_of(info.uri))
                lone.discard(text.uri if text else "")
                yield info, text
            elif not is_text(info.uri):
                tally.add(why_not(info.uri), info.uri)
        for uri in sorted(lone):
            tally.add(Skip.LONE_TEXT, uri)


def is_text(uri: str) -> bool:
    """Whether a file name ends like a text's, in any case: `A.TXT` is a text, but only `A.txt` is that of `A.JPG`."""
    return uri.lower().endswith(TEXT_SUFFIX)


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


def _first_stem(info: ObjectInfo) -> str:
    """Everything before the name's first dot: files that share it are neighbours in a sorted listing."""
    return info.uri[: info.uri.find(".", info.uri.rfind("/"))]
