"""A web site on a loopback address: files, redirects, slow and endless answers."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


@dataclass
class Site:
    """A web site on a loopback address."""

    host: str = "127.0.0.1"
    requests: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    busy: int = 0
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.requests.append(self.path)
                site.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_args: Any) -> None:
                pass

        self.server = _Server((self.host, 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        assert self.server
        self.server.shutdown()
        self.server.server_close()

    def url(self, path: str) -> str:
        assert self.server
        return f"http://{self.host}:{self.server.server_port}{path}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path, _, query = request.path.partition("?")
        if path == "/busy" and self.busy:
            self.busy -= 1
            _send(request, 503, b"")
        elif path.startswith("/status/"):
            _send(request, int(path[8:]), b"")
        elif path == "/to":
            _send(request, 302, b"", {"Location": query})
        elif path == "/slow":
            request.send_response_only(200)
            request.send_header("Content-Length", "20")
            request.end_headers()
            for _ in range(20):
                request.wfile.write(b"x")
                request.wfile.flush()
                time.sleep(0.2)
        elif path == "/endless":
            request.close_connection = True
            request.send_response_only(200)
            request.end_headers()
            for _ in range(10_000):
                request.wfile.write(b"x" * 65_536)
        elif path == "/half":
            time.sleep(0.5)
            _send(request, 200, b"image bytes")
        elif path in self.files:
            _send_file(request, self.files[path])
        else:
            _send(request, 200, b"image bytes", {"ETag": '"v1"'})


def _send(request: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
    request.send_response_only(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(body)


def _send_file(request: BaseHTTPRequestHandler, data: bytes) -> None:
    wanted = request.headers.get("Range")
    if not wanted:
        _send(request, 200, data)
        return
    first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
    _send(request, 206, data[first : last + 1])
