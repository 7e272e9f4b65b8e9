"""A TCP proxy on a loopback port that can refuse, hang or break off: a network that has bad minutes."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

Mood = Literal["pass", "refuse", "hang"]


class Proxy:
    """Passes connections on to the host of `url` while its mood is `pass`.

    `refuse` resets what comes and what is open; `hang` accepts and never answers.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._behind = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._mood: Mood = "pass"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def be(self, mood: Mood) -> None:
        """Change the mood; connections that are open end."""
        self._mood = mood
        self._end()

    def close(self) -> None:
        """Stop listening."""
        self._listener.close()
        self._end()

    def _end(self) -> None:
        while self._open:
            with suppress(OSError):
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._mood == "refuse":
                    client.close()
                    continue
                self._open.append(client)
                if self._mood == "pass":
                    server = socket.create_connection(self._behind)
                    self._open.append(server)
                    for pair in ((client, server), (server, client)):
                        threading.Thread(target=_pump, args=pair, daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
