"""Which stores gave no answer of late, so that a dead one costs about one wait and a broken object only its own.

Verdicts of reads go in, in any order and from any thread; whether retries at a place are still worth their time comes
out.
"""

from __future__ import annotations

from pipeline.storage.uris import scheme, split_bucket

#: A store is taken for dead after so many of its objects in a row: fewer may be broken in a store that works.
_DOWN_AFTER = 3


class StoreHealth:
    """What one batch of reads has learned."""

    def __init__(self) -> None:
        self._unanswered: dict[str, set[str]] = {}

    def note(self, uri: str, answered: bool) -> None:
        """A read of `uri` ended, with the object or a refusal (`answered`), or unavailable after its retries."""
        if answered:
            self._unanswered.pop(_store_of(uri), None)
        else:
            self._unanswered.setdefault(_store_of(uri), set()).add(uri)

    def is_down(self, uri: str) -> bool:
        """Whether this object, or three of its store's, gave no answer since the store last did."""
        unanswered = self._unanswered.get(_store_of(uri), ())
        return uri in unanswered or len(unanswered) >= _DOWN_AFTER


def _store_of(uri: str) -> str:
    return f"{scheme(uri)}://{split_bucket(uri)[0]}"
