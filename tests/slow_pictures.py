"""A proxy before an S3 server that gives pictures, or something else, as slowly as a test wants, and counts them."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from s3_server import FaultyProxy


@dataclass
class SlowPictures(FaultyProxy):
    """Answers each GET of a picture, or of what else has `slow` in its name, `delay_s` late."""

    delay_s: float = 0.0
    slow: str = ".jpg"

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        if request.command == "GET" and self.slow in request.path:
            time.sleep(self.delay_s)
        with suppress(ConnectionError):  # Whoever asked was killed.
            super().handle(request)

    def pictures_read(self) -> list[str]:
        """Names of the pictures that were read, once per GET."""
        gets = [line for line in self.requests if line.startswith("GET ") and ".jpg" in line]
        return sorted(line.split("?")[0].rpartition("/")[2] for line in gets)
