"""The process in which a server evaluates the conditions of requests.

    python -m pipeline.serving.search.condition_process MEMORY_MB

In: on stdin a line of JSON for each condition, the arguments of `write_matching`. Out: on stdout a line of JSON when
the keys are written: an empty object, or the name of an error (`NAMES`) and its message. A single call in a condition
can take any time and memory, as `repeat('a', 4000000000)` does, and neither a limit of DuckDB nor an interrupt ends it.
So the system does: it refuses memory above the limit, and its alarm clock ends the process.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.curation.filter.filtering import READING
from pipeline.curation.search.matching import write_matching
from pipeline.errors import HanclipError, NotFoundError, RunError, StorageError, UnavailableError, UsageError
from pipeline.serving.log import log_as_json

#: Errors by the names that answers have for them; the first that fits.
NAMES: Mapping[str, type[HanclipError]] = {
    "usage": UsageError,
    "not_found": NotFoundError,
    "unavailable": UnavailableError,
    "storage": StorageError,
    "run": RunError,
}
MEMORY = "memory"
#: After the limit an interrupt has time to end the query, so that the process can go on.
_GRACE_S = 1.0
_THREADS = 2


def main() -> None:
    """Answer until stdin ends, which it does with the server."""
    for ignored in (signal.SIGINT, signal.SIGTERM):  # they are for the server, which still waits for answers
        signal.signal(ignored, signal.SIG_IGN)
    log_as_json(with_access=False)
    limit_memory(int(sys.argv[1]))
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)  # noqa: T201 - this is how it answers


def limit_memory(memory_mb: int) -> None:
    """Let this process take so much memory beyond what it has."""
    pa.set_cpu_count(_THREADS)  # each thread takes some
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the system should rather end this process than the server
    with suppress(OSError, ValueError):  # where the system has no such count, only DuckDB's limit holds
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _answer(asked: dict[str, Any]) -> dict[str, str]:
    clock = _Clock(asked["limit_s"])
    try:
        write_matching(**asked, on_phase=clock.on_phase)
    except (HanclipError, MemoryError) as error:
        return _named(error)
    finally:
        clock.stop()
    return {}


def _named(error: Exception) -> dict[str, str]:
    """The answer for an error."""
    if any(isinstance(one, MemoryError | duckdb.OutOfMemoryException) for one in _causes(error)):
        return {"error": MEMORY, "message": ""}
    name = next((name for name, kind in NAMES.items() if isinstance(error, kind)), "run")
    return {"error": name, "message": str(error)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class _Clock:
    """Ends this process when a condition is evaluated for longer than its limit; rows are read without one."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s + _GRACE_S

    def on_phase(self, doing: str, *_: int | None) -> None:
        """Start or stop the clock."""
        signal.setitimer(signal.ITIMER_REAL, 0 if doing == READING else self._limit_s)

    def stop(self) -> None:
        """Stop the clock."""
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main()
