"""A connection of the API, with bounds on what its client may send that is not part of a body, and on its time.

Bodies have their own bounds (`pipeline.serving.border`), which begin when a head is complete. Before that, uvicorn's
faster parser collects headers without a limit, and waits for them without a deadline: any stranger could take the
memory, or all connections. Trailers, behind a body in chunks, are collected in the same way. After it, an answer that
its client does not read would stay in memory for as long as the client likes. Of a body whose request was answered
already, the rest is dropped, up to a bound.
"""

from __future__ import annotations

import time
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pipeline.serving.border.answers import whole_answer
from pipeline.serving.border.arrivals import YIELDS_AFTER_S
from pipeline.serving.border.border import DROPPED_BYTES
from pipeline.serving.errors import ApiError, ErrorCode, overloaded

#: Bytes that may come without a complete head and without a byte of a body.
MOST_HEAD_BYTES = 2**16
#: Seconds that a client has for a head, from its first byte, or from the start of a connection; and for an answer.
HEAD_S = 20.0
#: An answer has a second more for each of so many bytes.
LEAST_BYTES_PER_S = 2**16
_TOO_LARGE = ApiError(
    431, ErrorCode.INVALID_REQUEST, f"Request line and headers have more than {MOST_HEAD_BYTES:,} bytes. Send fewer."
)
_NOT_HTTP = ApiError(
    400,
    ErrorCode.INVALID_REQUEST,
    "This is no request of HTTP/1.1. Correct its head, or its length; percent-encode Chinese and blanks in the "
    "address, as `curl -G --data-urlencode` does.",
)
_TOO_MANY = "Too many connections are asking here. Try again in a moment."


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # uvicorn chooses the class by what is there
    """uvicorn's protocol with the bounds.

    Args:
        most: connections at once. For one more, the one that has waited longest for a request is closed, or the one
            that has been sending its request for longest.
    """

    #: When the wait for a head began; None: none has begun.
    _awaiting_since_s: float | None = None
    #: When the last head was complete.
    _asked_s = 0.0
    #: When the client must have read the answer; None: it has.
    _unread_until_s: float | None = None
    _head_bytes = 0

    def __init__(self, *args: Any, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most = most

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's."""
        self._awaiting_since_s = time.monotonic()
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's."""
        before, asked = self._progress(), self.cycle
        super().data_received(data)
        if self.cycle is not asked:
            self._asked_s = time.monotonic()
        if self._progress() != before:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            most = MOST_HEAD_BYTES + (DROPPED_BYTES if self._is_dropping else 0)
            if self._head_bytes > most and not self.transport.is_closing():
                self._refuse(_TOO_LARGE)
        if not self.is_answering:
            self._awaiting_since_s = self._awaiting_since_s or time.monotonic()
        else:
            self._awaiting_since_s = None

    @property
    def is_answering(self) -> bool:
        """Whether there is a request without its whole answer."""
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Whether the body of a request without an answer is still on its way."""
        return self.is_answering and self.cycle.more_body and not self.transport.is_closing()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked, and nothing is being sent."""
        return not (self.is_answering or self.transport.is_closing() or self.transport.get_write_buffer_size())

    def is_late(self, now_s: float) -> bool:
        """Whether a head has been awaited, or an answer has waited for its reader, for too long. Asked now and then."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._unread_until_s = None
        elif self._unread_until_s is None:
            self._unread_until_s = now_s + HEAD_S + unread / LEAST_BYTES_PER_S
        elif now_s > self._unread_until_s:
            return True
        return self._awaiting_since_s is not None and now_s - self._awaiting_since_s > HEAD_S

    def _progress(self) -> tuple[Any, ...]:
        cycle = self.cycle
        return () if cycle is None else (cycle, len(cycle.body), cycle.more_body)

    @property
    def _is_dropping(self) -> bool:
        """Whether what comes may be the rest of a body whose request has its answer."""
        return self.cycle is not None and self.cycle.response_complete and self.cycle.more_body

    def _make_room(self) -> None:
        """Close a connection that waits for a request, or else for the rest of one; or refuse this one."""
        others = [each for each in self.connections if each is not self]
        if idle := [each for each in others if each.is_idle]:
            min(idle, key=lambda each: (each._awaiting_since_s is None, each._awaiting_since_s or 0)).transport.close()
            return
        before_s = time.monotonic() - YIELDS_AFTER_S
        if slow := [each for each in others if each.is_sending and each._asked_s < before_s]:
            min(slow, key=lambda each: each._asked_s).transport.abort()
            return
        self._refuse(overloaded(_TOO_MANY))

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's, which is plain text."""
        self._refuse(_NOT_HTTP)

    def _refuse(self, error: ApiError) -> None:
        if self.cycle is None or not (self.cycle.response_started and (self.is_answering or self._is_dropping)):
            self.transport.write(whole_answer(error, Connection="close"))
        self.transport.close()
