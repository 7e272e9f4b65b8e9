"""JSON lines on stdout, for machines."""

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

    Ray and libraries print to stdout from places that we do not own, so the process' stdout is pointed at stderr and
    the lines go to a private copy of the original.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._lines: TextIO | None = None
        self._clock = clock
        self._told: tuple[str, str] | None = None
        self._due_s = 0.0

    def __enter__(self) -> JsonLines:
        sys.stdout.flush()
        self._lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
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
        """Write a progress line when two seconds have passed, or what the run does has changed."""
        doing, now = (progress.state, progress.waiting_for), self._clock()
        if doing != self._told or now >= self._due_s:
            self._told, self._due_s = doing, now + JSON_EVERY_S
            self.write("progress", progress.to_json())
