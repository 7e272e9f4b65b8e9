"""The share of time in which the GPU executed a kernel, from the driver's own counter.

`nvidia-smi` prints `utilization.gpu`, the share of its last sample period, with a time stamp.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from statistics import mean
from types import TracebackType
from typing import Self

_EVERY_MS = 200
_QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}")


class Utilization:
    """Samples the first GPU while it is entered."""

    def __init__(self, samples: Path) -> None:
        self._path = samples

    def __enter__(self) -> Self:
        self._file = self._path.open("w")
        self._began_s = time.monotonic()
        self._watcher = subprocess.Popen([*_QUERY, "--id=0"], stdout=self._file)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.terminate()
        self._watcher.wait(10)
        self._file.close()
        self._lasted_s = time.monotonic() - self._began_s

    def busy_share(self, begin_s: float, end_s: float) -> float:
        """Mean between two monotonic times, after the sampling."""
        busy = [float(line) / 100 for line in self._path.read_text().split() if line.isdigit()]
        inside = slice(*(round((at - self._began_s) / self._lasted_s * len(busy)) for at in (begin_s, end_s)))
        return mean(busy[inside] or busy)
