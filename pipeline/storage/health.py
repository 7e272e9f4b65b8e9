"""Tracks which stores stopped answering, so that a dead store costs about one timeout and a broken object only its own.

In: the outcome of each read, in any order and from any thread. Out: whether retrying at an address is worth the time.
"""

from __future__ import annotations

from pipeline.storage.uris import scheme, split_bucket

#: Consecutive objects without an answer before a store counts as down: fewer may be broken in a working store.
_DOWN_AFTER = 3


class StoreHealth:
    """The health of the stores that one batch reads from."""

    def __init__(self) -> None:
        self._unanswered: dict[str, set[str]] = {}

    def record(self, uri: str, answered: bool) -> None:
        """Record how a read of `uri` ended: with the object or a refusal (`answered`), or unavailable after retries."""
        if answered:
            self._unanswered.pop(_store_of(uri), None)
        else:
            self._unanswered.setdefault(_store_of(uri), set()).add(uri)

    def is_down(self, uri: str) -> bool:
        """Whether this object, or three objects of its store, got no answer since the store last gave one."""
        unanswered = self._unanswered.get(_store_of(uri), ())
        return uri in unanswered or len(unanswered) >= _DOWN_AFTER


def _store_of(uri: str) -> str:
    return f"{scheme(uri)}://{split_bucket(uri)[0]}"
