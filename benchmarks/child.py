"""Measures a command in a fresh process: wall seconds, CPU seconds and peak memory, start-up included."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took.

    Attributes:
        wall_s: from start to end.
        cpu_s: user and system, including its children.
        peak_mib: largest resident set of the process itself or of one of its children.
        printed: its standard output.
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    printed: str


def measure(*command: str, timeout_s: float = 900) -> Cost:
    """Run `python command...` to its end.

    Raises:
        RuntimeError: it failed, or was killed after `timeout_s`.
    """
    began_s = time.monotonic()
    child = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True)
    alarm = threading.Timer(timeout_s, child.kill)
    alarm.start()
    try:
        printed = child.stdout.read() if child.stdout else ""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    finally:
        alarm.cancel()
    if child.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {child.returncode} after {time.monotonic() - began_s:.0f} s"
        )
    return Cost(time.monotonic() - began_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, printed)
