"""Counts of a run: records, bytes and seconds per stage, which add with `+` at every level; and skipped entries.

Plain Python: what shows a summary loads neither Arrow nor a source.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import add, attrgetter
from threading import Lock
from typing import Any

from pipeline.vocabulary import Skip


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of a chunk, a shard or a run.

    Attributes:
        embedded: records with vectors.
        quarantined: records in quarantine, by reason.
        images_truncated: embedded images that end too early, with `accept_truncated`.
        bytes_read: encoded bytes fetched.
        bytes_written: bytes of committed Parquet files.
        read_s: seconds a decoder waited for bytes.
        decode_s: seconds a decoder worked on pixels.
        embed_s: seconds an embedder worked on one call or several at once.
        write_s: seconds a writer worked.
        texts: records that have a text.
        texts_too_long: of these, those with more tokens than the model takes, whatever their outcome.
        texts_unknown: of these, those of which the vocabulary has nothing: every token is [UNK].
        texts_encoded: distinct texts that went through the text tower.
    """

    embedded: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    images_truncated: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    embed_s: float = 0.0
    write_s: float = 0.0
    texts: int = 0
    texts_too_long: int = 0
    texts_unknown: int = 0
    texts_encoded: int = 0

    @property
    def records(self) -> int:
        """Records with an outcome: embedded + quarantined."""
        return self.embedded + self.quarantined.total()

    def __add__(self, other: Stats) -> Stats:
        return Stats(*map(add, _values(self), _values(other)))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `progress.json` and `summary.json`."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**plain, "quarantined": dict(self.quarantined)}


#: All counts, in the order of the fields: the scheduler adds some for every call.
_values = attrgetter(*(count.name for count in fields(Stats)))


class BusyClock:
    """Seconds in which at least one call runs in this process, divided among the calls that end.

    Their sum is never more than the time that passed, however many calls run at once.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._running = 0
        self._counted_s = 0.0

    def begin(self) -> None:
        """A call begins."""
        with self._lock:
            if not self._running:
                self._counted_s = time.monotonic()
            self._running += 1

    def end(self) -> float:
        """A call ends; returns the busy seconds that no call has reported yet."""
        with self._lock:
            now = time.monotonic()
            seconds, self._counted_s = now - self._counted_s, now
            self._running -= 1
            return seconds


@dataclass(frozen=True, slots=True)
class Skipped:
    """Entries of one kind that a source holds and that are not records.

    Attributes:
        kind: a `vocabulary.Skip`; any word, so that summaries of a newer version can be read.
        count: how many.
        example: the address or name of the first.
    """

    kind: str
    count: int
    example: str

    @property
    def what(self) -> str:
        """`12 files with an unknown suffix`."""
        noun, rest, _cure = _WORDS.get(self.kind, ("item", f"({self.kind})", ""))
        return f"{self.count:,} {noun}{'' if self.count == 1 else 's'} {rest}".rstrip()

    @property
    def cure(self) -> str:
        """What makes records of them, a sentence; empty where nothing has to be done."""
        return _WORDS.get(self.kind, ("", "", ""))[2]

    def __str__(self) -> str:
        return f"{self.what}, such as {self.example}"


def sum_skipped(parts: Iterable[Skipped]) -> tuple[Skipped, ...]:
    """One for each kind, with the sum of the counts and the first example, in the order of `Skip`."""
    found: dict[str, Skipped] = {}
    for part in parts:
        known = found.get(part.kind, Skipped(part.kind, 0, part.example))
        found[part.kind] = Skipped(part.kind, known.count + part.count, known.example)
    order = {kind: place for place, kind in enumerate(_WORDS)}
    return tuple(sorted(found.values(), key=lambda one: order.get(one.kind, len(order))))


_IN_A_TABLE = "Images that a table names need no suffix: --image-column."

#: A noun, what follows it, and the cure.
_WORDS: Mapping[str, tuple[str, str, str]] = {
    Skip.UNKNOWN_SUFFIX: ("file", "with an unknown suffix", _IN_A_TABLE),
    Skip.NO_SUFFIX: ("file", "without a suffix", _IN_A_TABLE),
    Skip.OTHER_FORMAT: ("file", "of another format", "Read it with another --format, into another OUT."),
    Skip.LONE_TEXT: ("text", "without an image of the same name", "The text of a.jpg has to be called a.txt."),
    Skip.LONE_IMAGE: ("image", "without a text", ""),
    Skip.HIDDEN: ("hidden name", "(a leading dot)", ""),
    Skip.UNFINISHED: ("unfinished upload", "", "Run the same command when it is complete."),
    Skip.FOLDER_LINK: ("link", "to a folder, not followed", "Name its target as a further source."),
    Skip.BROKEN_LINK: ("link", "whose target cannot be reached", ""),
    Skip.SPECIAL_FILE: ("special file", "(a pipe, a socket or a device)", ""),
    Skip.FOLDER_MARKER: ("folder marker", "(a key that ends in /)", ""),
    Skip.UNREADABLE_FOLDER: ("folder", "that cannot be read", "Change its permissions to read it."),
    Skip.UNREADABLE_FILE: ("file", "that cannot be read", "Change its permissions to read it."),
    Skip.VANISHED: ("file", "that vanished while it was listed", ""),
    Skip.UNKNOWN_MEMBER: ("member", "of an unknown kind", ""),
    Skip.SPECIAL_MEMBER: ("member", "that is no plain file (sparse, a folder, a device)", ""),
    Skip.UNFOLLOWED_LINK: (
        "link",
        "in a tar to a file that is not in it, or in a compressed tar",
        "Pack the files themselves: tar --dereference --hard-dereference.",
    ),
}
