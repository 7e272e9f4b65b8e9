"""Tracks which stores and hosts stopped answering, so that a dead one costs little and a broken object only its own.

In: the outcome of each read or request, in any order and from any thread. Out: whether another one is worth the time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.storage.uris import scheme, split_bucket

#: Consecutive objects without an answer before a store counts as down: fewer may be broken in a working store.
_DOWN_AFTER = 3
#: Tries of an object at a host that has not served anything yet.
_FEW_TRIES = 4
#: Failures in a row before a host that has never answered is given up.
_SILENCES = 3
#: A timeout counts as two failures, since it was waited for.
_TIMEOUT = 2
#: A host that is given up is asked again after this time, by one request.
_PAUSE_S = 30.0
#: Web catalogs have millions of hosts. The oldest are forgotten.
_HOSTS = 50_000


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


@dataclass(slots=True)
class _Host:
    """What is known of a host.

    Attributes:
        answered: it has sent a response.
        served: one of them was an object or a refusal, so that it is worth waiting for.
        silences: requests without a response since the last one.
        spent: objects whose retries are used up since the last one that was served.
        asked_again: when the next request may be sent; None while it is not given up.
    """

    answered: bool = False
    served: bool = False
    silences: int = 0
    spent: int = 0
    asked_again: float | None = None


class HostHealth:
    """The health of the many http(s) hosts of one source; each is named by its authority.

    A host that has never answered is given up after a few failed requests, one that has never served anything after
    three objects. One that has is retried like any store: after three objects that used up their retries, each of the
    next ones has one try, or, if it does not respond any more, none for a while.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, _Host] = {}

    def may_ask(self, authority: str) -> bool:
        """Whether to send a request. Of a host that is given up only one in a while gets through."""
        with self._lock:
            host, now = self._of(authority), self._clock()
            if host.asked_again is None:
                return True
            if now < host.asked_again:
                return False
            host.asked_again = now + _PAUSE_S
            return True

    def answered(self, authority: str) -> None:
        """The host sent a response, whatever it says."""
        with self._lock:
            host = self._of(authority)
            host.answered, host.silences, host.asked_again = True, 0, None

    def served(self, authority: str) -> None:
        """The host sent an object, or refused it for good."""
        with self._lock:
            host = self._of(authority)
            host.served, host.spent = True, 0

    def silent(self, authority: str, timed_out: bool) -> None:
        """A request ended without a response."""
        with self._lock:
            host = self._of(authority)
            host.silences += _TIMEOUT if timed_out else 1
            if host.asked_again is not None or (not host.answered and host.silences >= _SILENCES):
                host.asked_again = self._clock() + _PAUSE_S

    def spent(self, authority: str) -> None:
        """The retries of an object are used up."""
        with self._lock:
            host = self._of(authority)
            host.spent += 1
            if host.spent >= _DOWN_AFTER and (host.silences > 0 or not host.served):
                host.asked_again = self._clock() + _PAUSE_S

    def tries(self, authority: str) -> int | None:
        """How often an object of this host is tried; None for as long as the retries take."""
        with self._lock:
            host = self._of(authority)
            if host.spent >= _DOWN_AFTER:
                return 1
            return None if host.served else _FEW_TRIES

    def is_silent(self, authority: str) -> bool:
        """Whether the latest request got no response."""
        with self._lock:
            return self._of(authority).silences > 0

    def is_given_up(self, authority: str) -> bool:
        """Whether retries at this host are a waste of time for now."""
        with self._lock:
            return self._of(authority).asked_again is not None

    def _of(self, authority: str) -> _Host:
        host = self._hosts.get(authority)
        if host is None:
            if len(self._hosts) >= _HOSTS:
                del self._hosts[next(iter(self._hosts))]
            host = self._hosts[authority] = _Host()
        return host
