"""Whether a store lists keys in order, which readers of a listing rely on.

Most stores list by the bytes of the keys, some folder by folder. S3's directory buckets list in no order, and so may
stores that divide their keys among servers. Which ones do is noticed while they list, and remembered by this process.

In: keys as they arrive. Out: the same, or UnsortedError at the first that is out of order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.errors import UnsortedError
from pipeline.storage.backends.contract import ObjectInfo
from pipeline.storage.backends.s3_session import s3_environment
from pipeline.storage.uris import printable, scheme, split_bucket

#: How the names of S3's directory buckets (S3 Express) end.
_DIRECTORY_BUCKET = "--x-s3"


class KeyOrder:
    """The order of all keys that were seen: by bytes, folder by folder, or none."""

    def __init__(self) -> None:
        self._by_bytes = self._by_folder = True

    def follows(self, first: str, second: str) -> bool:
        """Whether the second key may come after the first, in an order that all keys so far have."""
        self._by_bytes = self._by_bytes and first < second
        self._by_folder = self._by_folder and first.replace("/", "\0") < second.replace("/", "\0")
        return self._by_bytes or self._by_folder

    def holds(self, keys: Sequence[str]) -> bool:
        """Whether each key may come after the one before it."""
        return all(map(self.follows, keys, keys[1:]))


def is_directory_bucket(bucket: str) -> bool:
    """Whether a bucket's name is that of a directory bucket of S3."""
    return bucket.endswith(_DIRECTORY_BUCKET)


def is_unsorted(uri: str) -> bool:
    """Whether the bucket of `uri` is known to list in no order."""
    return is_directory_bucket(split_bucket(uri)[0]) or _store(uri) in _UNSORTED


def unsorted(uri: str) -> UnsortedError:
    """The error for a bucket that lists in no order, which is remembered from now on."""
    _UNSORTED.add(_store(uri))
    return UnsortedError(
        f"{printable(uri)}: its store lists the keys in no order, which showed too late. Name the folders in it one by "
        "one, or give a table of its objects.",
        uri,
    )


def in_order(entries: Iterable[ObjectInfo], uri: str) -> Iterator[ObjectInfo]:
    """The entries of a bucket below `uri`. Raises UnsortedError at the first that is out of order."""
    order, before = KeyOrder(), ""
    for entry in entries:
        if before and not order.follows(before, entry.uri):
            raise unsorted(uri)
        before = entry.uri
        yield entry


def _store(uri: str) -> tuple[str | None, ...]:
    return scheme(uri), split_bucket(uri)[0], *s3_environment()


_UNSORTED: set[tuple[str | None, ...]] = set()
