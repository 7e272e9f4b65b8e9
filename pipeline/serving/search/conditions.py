"""Evaluates the conditions of requests in processes of their own, which the system ends when they take too much.

In: a dataset and a condition. Out: a local file with the keys of the rows that meet it, or an error that names the
limit. A condition that is ended takes nobody else's request with it. A process that is idle waits for the next
condition, since its start takes half a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pipeline
from pipeline.errors import UsageError
from pipeline.scratch.folder import ScratchFolder
from pipeline.serving.search.condition_process import MEMORY, NAMES

_MODULE = "pipeline.serving.search.condition_process"
#: Then a process is replaced, since memory that it does not return counts against its limit.
_MOST_ANSWERS = 64


class RequestConditions:
    """May be used by several threads, each of which has a process of its own meanwhile.

    Args:
        memory_mb: of a process.
    """

    def __init__(self, memory_mb: int) -> None:
        self._memory_mb = memory_mb
        self._idle: list[_Process] = []
        weakref.finalize(self, _end, self._idle)

    @contextmanager
    def matching_rows(self, out: str, where: str, limit_s: float) -> Iterator[str]:
        """A `FindMatching`.

        Raises:
            UsageError: the condition is wrong, or takes too much.
            StorageError, RunError: the dataset cannot be read.
        """
        with ScratchFolder() as folder:
            path = str(folder / "matching.parquet")
            self._write({"out": out, "where": where, "limit_s": limit_s, "path": path})
            yield path

    def _write(self, asked: dict[str, Any]) -> None:
        process = self._taken()
        answer = process.answer(asked)
        if answer is None:
            raise self._ended(process.end(), asked["limit_s"])
        if answer.get("error") == MEMORY:
            process.end()  # it keeps what it got, so that little is left for the next one
            raise self._too_large()
        self._give_back(process)
        if "error" in answer:
            raise NAMES[answer["error"]](answer["message"])

    def _taken(self) -> _Process:
        with suppress(IndexError):
            while True:
                process = self._idle.pop()
                if process.lives():
                    return process
                process.end()
        return _Process(self._memory_mb)

    def _give_back(self, process: _Process) -> None:
        if self._idle or process.answers == _MOST_ANSWERS:
            process.end()
        else:
            self._idle.append(process)

    def _ended(self, code: int, limit_s: float) -> UsageError:
        if code == -signal.SIGALRM:
            return UsageError(f"Evaluating the condition takes longer than {limit_s:g} s: simplify it.")
        return self._too_large()

    def _too_large(self) -> UsageError:
        return UsageError(f"Evaluating the condition takes more than {self._memory_mb:,} MB of memory: simplify it.")


class _Process:
    """One process; see `condition_process`.

    Attributes:
        answers: how many it gave.
    """

    def __init__(self, memory_mb: int) -> None:
        self.answers = 0
        root = str(Path(pipeline.__file__).parents[1])
        paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._running = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(memory_mb)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )

    def lives(self) -> bool:
        """Whether it can be asked."""
        return self._running.poll() is None

    def answer(self, asked: dict[str, Any]) -> dict[str, str] | None:
        """Its answer; None if it ended instead."""
        assert self._running.stdin
        assert self._running.stdout
        with suppress(BrokenPipeError):
            self._running.stdin.write(json.dumps(asked).encode() + b"\n")
            self._running.stdin.flush()
        line = self._running.stdout.readline()
        self.answers += 1
        found: dict[str, str] | None = json.loads(line) if line else None
        return found

    def end(self) -> int:
        """End it, and return its exit code."""
        assert self._running.stdin
        assert self._running.stdout
        with suppress(BrokenPipeError):
            self._running.stdin.close()
        self._running.stdout.close()
        return self._running.wait()


def _end(idle: list[_Process]) -> None:
    while idle:
        idle.pop().end()
