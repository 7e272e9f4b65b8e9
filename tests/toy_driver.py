"""A driver that does as the key of its job's first run says, or its source: for tests of whatever waits for drivers.

ok: five lines, complete. quarantine: complete with exit code 3. fail: a failed run. die: no word, as after SIGKILL.
sleep: a line and progress five times a second until it is stopped. As a script it takes what a job's entrypoint gives
to the interpreter; `drive` does the same within a process.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import sys
import threading
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.jobs.folder import (
    JobProgress,
    JobRun,
    JobSummary,
    RunOutcome,
    job_id_of,
    read_job,
    write_progress,
    write_summary,
)

logger = logging.getLogger("actors.toy")


def runs(key: str) -> tuple[JobRun, ...]:
    """One run of this behaviour."""
    return (JobRun(key, RunConfig()),)


def drive(uri: str, stop: threading.Event) -> JobSummary:
    """Do as told; raises for `die`."""
    job_id, run = job_id_of(uri), read_job(uri).runs[0]
    key = run.key or Path(run.config.source.uris[0]).name
    for number in range(5):
        logger.warning("%s line %d", key, number)
    write_progress(uri, JobProgress(job_id, "running", 0, 1, {"rows": 0}))
    if key == "die":
        raise MemoryError("out of memory")
    if key == "sleep":
        rows = 0
        while not stop.wait(0.2):
            rows += 1
            logger.warning("%s row %d", key, rows)
            write_progress(uri, JobProgress(job_id, "running", 0, 1, {"rows": rows}))
    state, code = {
        "ok": ("complete", 0),
        "quarantine": ("complete", 3),
        "fail": ("failed", 1),
        "sleep": ("stopped", 143),
    }[key]
    summary = JobSummary(job_id, state, code, f"toy: {key}", (RunOutcome(key, state),))  # type: ignore[arg-type]
    write_summary(uri, summary)
    return summary


def interpreter(folder: Path) -> str:
    """An executable that stands for `python` in an entrypoint and runs this driver."""
    script = folder / "toy-python"
    script.write_text(f'#!/bin/sh\nshift 2\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} "$@"\n')
    script.chmod(0o755)
    return str(script)


def main() -> int:
    """The script."""
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        return drive(sys.argv[1], stop).exit_code
    except MemoryError:
        os.kill(os.getpid(), signal.SIGKILL)
        return 1


if __name__ == "__main__":
    sys.exit(main())
