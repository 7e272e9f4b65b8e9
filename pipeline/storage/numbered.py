"""A log in one folder: numbered JSON objects, each created under a name that can be taken only once.

    FOLDER/00000007.json

A process that adds an entry reads the newest one, decides, and takes the next number. If that is taken, another process
was first: it reads that entry and decides again. So every entry was made with all earlier ones in view. Entries never
change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Generic, TypeVar

from pydantic import BaseModel

from pipeline.errors import NotFoundError, RunError
from pipeline.storage.listing import list_objects
from pipeline.storage.reading import read_bytes
from pipeline.storage.uris import join
from pipeline.storage.writing import create
from pipeline.validation import validated

_Entry = TypeVar("_Entry", bound=BaseModel)

_NAME = re.compile(r"/(\d{8})\.json$")
#: Entries kept in memory: a process looks at the newest one again and again.
_KEPT = 8


@dataclass(frozen=True)
class NumberedLog(Generic[_Entry]):
    """The log in `folder`.

    Attributes:
        folder: its address.
        kind: model of an entry.
        cure: what to do about a damaged entry, if a newer hanclip does not help.
    """

    folder: str
    kind: type[_Entry]
    cure: str

    def newest(self) -> tuple[int, _Entry | None]:
        """Number and content of the newest entry; -1 and None if there is none.

        Raises:
            RunError: it is damaged or from a newer hanclip.
        """
        last = max(self._entries(), default=None)
        if last is None:
            return -1, None
        number, uri, fingerprint = last
        return number, _kept(self, uri, fingerprint)

    def later(self, number: int) -> Iterator[_Entry]:
        """All entries after `number`, in order. Raises RunError as `newest` does."""
        with suppress(NotFoundError):
            for following in count(number + 1):
                yield self._read(self._uri(following))

    def append(self, number: int, entry: _Entry) -> None:
        """Create entry `number`. Raises AlreadyExistsError when another process has taken the number."""
        create(self._uri(number), entry.model_dump_json().encode())

    def _entries(self) -> Iterator[tuple[int, str, str]]:
        """Number, address and fingerprint of each entry."""
        with suppress(NotFoundError):
            for info in list_objects(self.folder):
                if match := _NAME.fullmatch(info.uri.removeprefix(self.folder)):
                    yield int(match[1]), info.uri, info.fingerprint

    def _read(self, uri: str) -> _Entry:
        return validated(
            self.kind,
            read_bytes(uri),
            f"{uri} is damaged or written by a newer hanclip",
            cure=f"Upgrade hanclip; if that does not help, {self.cure}",
            error=RunError,
        )

    def _uri(self, number: int) -> str:
        return join(self.folder, f"{number:08d}.json")


@lru_cache(_KEPT)
def _kept(log: NumberedLog[_Entry], uri: str, fingerprint: str) -> _Entry:
    """An entry by its address and fingerprint, so that a folder that was made anew is read anew."""
    return log._read(uri)
