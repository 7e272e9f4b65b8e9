"""uvicorn as the host of the API, with an end that answers what was accepted.

After SIGTERM or Ctrl-C the server is not ready any more, and closes each connection with its next answer. For
`drain_s` it accepts further requests, since load balancers need a moment to notice. Then it stops listening, and has
`grace_s` to answer the rest. uvicorn alone would stop listening at once, and would close connections whose requests are
on their way.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import math
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import FrameType

import uvicorn

from flows.commands.serving.connections import BoundedConnection
from pipeline import units
from pipeline.serving.app import Application
from pipeline.serving.server import Server
from pipeline.serving.settings import Network

_LOG = logging.getLogger("hanclip.serve")
#: Load balancers keep idle connections for a minute; whoever closes later causes no errors.
_KEEP_ALIVE_S = 75
#: After the last connection was accepted, its request may be on its way for so long.
_LAST_REQUEST_S = 0.5
#: Of <asm/socket.h> and <linux/filter.h>.
_SO_ATTACH_FILTER, _RETURN = 26, 0x06
#: Files that are not connections: the log, the dataset, images that are fetched.
_OTHER_FILES = 256


class Host(uvicorn.Server):
    """Runs one application.

    Args:
        app: from `create_app`.
        network: how it ends.
        on_start: called when it accepts connections.
    """

    def __init__(self, app: Application, network: Network, on_start: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                # uvicorn only calls it, so it need not be a class
                http=partial(BoundedConnection, most=_most(network)),  # type: ignore[arg-type]
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=math.ceil(network.grace_s),
            )
        )
        self._api: Server = app.state.server
        self._drain_s, self._on_start = network.drain_s, on_start
        self._stop_s: float | None = None

    def run(self, listener: socket.socket) -> int:  # type: ignore[override]
        """Serve on a bound socket until a signal arrives; returns the exit code."""
        super().run([listener])
        left = self._api.desk.in_flight
        if left:
            _LOG.warning("Not answered in time: %s. Raise --grace-s.", units.count(left, "request"))
        return 1 if left or self._api.embedding.is_lost else 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second Ctrl-C ends at once."""
        if self._stop_s is not None and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._stop_s is None:
            self._api.desk.is_draining = True
            self._stop_s = time.monotonic() + self._drain_s

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn's; whether to stop listening."""
        if counter % 10 == 0:  # once a second
            self._close_late()
        if self._api.embedding.is_lost or (self._stop_s is not None and time.monotonic() >= self._stop_s):
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, which closes connections without a request at once; theirs may be on its way."""
        await self._stop_listening(sockets or [])
        end_s = time.monotonic() + _LAST_REQUEST_S
        while not self.force_exit and time.monotonic() < end_s and not all(each.is_answering for each in self._open()):
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Accept all who have connected, and nobody after them: the system resets those who still wait at the end."""
        for listener in sockets:
            _let_nobody_connect(listener)
        accepted = [connection for listener in sockets for connection in _connected(listener)]
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            await loop.connect_accepted_socket(self._connection, connection)

    def _connection(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _open(self) -> list[BoundedConnection]:
        """The connections."""
        return [each for each in self.server_state.connections if isinstance(each, BoundedConnection)]

    def _close_late(self) -> None:
        now_s = time.monotonic()
        for connection in self._open():
            if connection.is_late(now_s):
                connection.transport.abort()


def _let_nobody_connect(listener: socket.socket) -> None:
    """Have the system drop all packets to a listening socket: whoever connects now tries again, and is refused then."""
    if sys.platform != "linux":
        return
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", _RETURN, 0, 0, 0))  # struct sock_filter
    program = struct.pack("HP", 1, ctypes.addressof(drop_all))  # struct sock_fprog
    with suppress(OSError):  # a sandbox may forbid it
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def _connected(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that nobody has accepted yet."""
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        yield connection


def _most(network: Network) -> int:
    """Connections at once: what the process may open leaves room for files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(network.max_connections, files - _OTHER_FILES))
