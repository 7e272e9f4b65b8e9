"""A connection of the API, with bounds on what its client may send that is not part of a body.

Bodies have their own bounds (`pipeline.serving.border`), which begin when a head is complete. Before that, uvicorn's
faster parser collects headers without a limit, and waits for them without a deadline: any stranger could take the
memory, or all connections. Trailers, behind a body in chunks, are collected in the same way.
"""

from __future__ import annotations

import time
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

#: Bytes that may come without a complete head and without a byte of a body.
MOST_HEAD_BYTES = 2**16
#: Seconds that a client has for a head, from its first byte, or from the start of a connection.
HEAD_S = 20.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # uvicorn chooses the class by what is there
    """uvicorn's protocol with the bounds."""

    #: When the wait for a head began; None: none has begun.
    _awaiting_since_s: float | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """As uvicorn's."""
        self._awaiting_since_s = time.monotonic()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """As uvicorn's."""
        before = self._progress()
        super().data_received(data)
        if self._progress() != before:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
                self._refuse()
        if not self.is_answering:
            self._awaiting_since_s = self._awaiting_since_s or time.monotonic()
        else:
            self._awaiting_since_s = None

    @property
    def is_answering(self) -> bool:
        """Whether there is a request without its whole answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def is_late(self, now_s: float) -> bool:
        """Whether a head has been awaited for too long."""
        return self._awaiting_since_s is not None and now_s - self._awaiting_since_s > HEAD_S

    def _progress(self) -> tuple[Any, ...]:
        cycle = self.cycle
        return () if cycle is None else (cycle, len(cycle.body), cycle.more_body)

    def _refuse(self) -> None:
        if not self.is_answering:
            self.transport.write(_TOO_LARGE)
        self.transport.close()
