"""uvicorn as the host of the API, with an end that answers what was accepted.

After SIGTERM or Ctrl-C the server is not ready any more, and closes each connection with its next answer. For
`drain_s` it accepts further requests, since load balancers need a moment to notice. Then it stops listening, and has
`grace_s` to answer the rest. uvicorn alone would stop listening at once.
"""

from __future__ import annotations

import math
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import typer
import uvicorn

from pipeline.serving.app import Application
from pipeline.serving.server import Server
from pipeline.serving.settings import Network

#: Load balancers keep idle connections for a minute; whoever closes later causes no errors.
_KEEP_ALIVE_S = 75


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
            typer.echo(f"{left} requests were not answered in time: raise --grace-s.", err=True)
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
        if self._api.embedding.is_lost or (self._stop_s is not None and time.monotonic() >= self._stop_s):
            self.should_exit = True
        return await super().on_tick(counter)
