"""An LMDB folder, opened read-only and without locks. What is in it is only ever handed out as bytes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pipeline import storage
from pipeline.errors import SourceError

#: Entries that count the others.
COUNTS = (b"num_images", b"num_samples")


class LmdbFolder:
    """Close it after use: LMDB opens a folder once in a process.

    Raises:
        SourceError: `folder` is no LMDB folder of this machine, or the package is missing; also from reading.
    """

    def __init__(self, folder: str) -> None:
        if not storage.is_local(folder):
            raise SourceError(
                f"{folder} is an LMDB folder, which is read from a local disk alone. Copy it here, or give the "
                "*_imgs.tsv and *_texts.jsonl that it was made of."
            )
        self._folder = os.path.realpath(folder)
        with self._translated():
            self._env: Any = _lmdb().open(
                self._folder, readonly=True, lock=False, create=False, readahead=False, max_spare_txns=16
            )

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value in order of the keys, without the counts."""
        with self._translated(), self._env.begin() as txn, txn.cursor() as cursor:
            for key, value in cursor:
                if key not in COUNTS:
                    yield key, value

    def count(self) -> int | None:
        """How many there are meant to be, where the folder tells."""
        told = next((value for value in self.take(COUNTS) if value), b"")
        return int(told) if told.isdigit() else None

    def take(self, keys: Iterable[bytes]) -> list[bytes]:
        """The values of `keys`, in order; empty where there is none. Thread-safe."""
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
            raise SourceError(f"{self._folder} cannot be read as LMDB: {error}. Repair or build it again.") from error


@contextmanager
def opened(folder: str) -> Iterator[LmdbFolder]:
    """The folder, closed at the end."""
    found = LmdbFolder(folder)
    try:
        yield found
    finally:
        found.close()


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError as error:
        raise SourceError("LMDB folders need the package lmdb: pip install 'hanclip[lmdb]'") from error
    return lmdb
