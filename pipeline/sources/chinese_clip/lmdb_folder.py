"""Reads an LMDB folder, read-only and without locks. Values are returned as bytes, never interpreted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import storage
from pipeline.errors import SourceError

#: Keys of the entries that count the others.
COUNTS = (b"num_images", b"num_samples")


class LmdbFolder:
    """Close it after use: LMDB opens a folder only once per process.

    Raises:
        SourceError: `folder` is not a local LMDB folder; also from reading.
    """

    def __init__(self, folder: str) -> None:
        if not storage.is_local(folder):
            raise SourceError(
                f"{folder} is an LMDB folder, which can only be read from a local disk. Copy it here, or give the "
                "*_imgs.tsv and *_texts.jsonl that it was built from."
            )
        self._folder = os.path.realpath(folder)
        with self._translated():
            self._env: Any = _lmdb().open(
                self._folder, readonly=True, lock=False, create=False, readahead=False, max_spare_txns=16
            )

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value in key order, without the counts."""
        with self._translated(), self._env.begin() as txn, txn.cursor() as cursor:
            for key, value in cursor:
                if key not in COUNTS:
                    yield key, value

    def count(self) -> int | None:
        """The number of entries that the folder declares, if it does."""
        declared = next((value for value in self.take(COUNTS) if value), b"")
        return int(declared) if declared.isdigit() else None

    def take(self, keys: Iterable[bytes]) -> list[bytes]:
        """The values of `keys`, in order; empty for a missing key. Thread-safe."""
        with self._translated(), self._env.begin() as txn:
            return [txn.get(key) or b"" for key in keys]

    def close(self) -> None:
        """Close the folder."""
        self._env.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _lmdb().Error as error:
            raise SourceError(f"{self._folder} cannot be read as LMDB: {error}. Repair or rebuild it.") from error


@contextmanager
def opened(folder: str) -> Iterator[LmdbFolder]:
    """The folder, closed on exit."""
    found = LmdbFolder(folder)
    try:
        yield found
    finally:
        found.close()


def _lmdb() -> Any:
    import lmdb  # an optional package

    return lmdb
