"""Writes JSON lines to stdout, for machines."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TextIO

import typer

from pipeline.jobs.progress import Progress


def write_json(event: str, values: dict[str, Any]) -> None:
    """Print one JSON object on one line."""
    typer.echo(json.dumps({"event": event, **values}, ensure_ascii=False, default=str))


JSON_EVERY_S = 2.0


class JsonLines(AbstractContextManager["JsonLines"]):
    """One JSON object a line; nothing else reaches stdout while it is open.

    Ray and other libraries print to stdout from threads and C code, so the process' stdout is redirected to stderr and
    the lines go to a duplicate of the original descriptor.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines: TextIO | None = None
        self._clock = clock
        self._activity: tuple[str, str] | None = None
        self._due_s = 0.0

    def __enter__(self) -> JsonLines:
        sys.stdout.flush()
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
        os.dup2(2, 1)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._lines is not None
        sys.stdout.flush()
        os.dup2(self._lines.fileno(), 1)
        self._lines.close()

    def write(self, event: str, values: dict[str, Any]) -> None:
        """Write one line at once: `{"event": event, ...}`."""
        assert self._lines is not None
        self._lines.write(json.dumps({"event": event, **values}, ensure_ascii=False, default=str) + "\n")
        self._lines.flush()

    def update(self, progress: Progress) -> None:
        """Write a progress line if two seconds have passed, or the activity has changed."""
        doing, now = (progress.state, progress.waiting_for), self._clock()
        if doing != self._activity or now >= self._due_s:
            self._activity, self._due_s = doing, now + JSON_EVERY_S
            self.write("progress", progress.to_json())
