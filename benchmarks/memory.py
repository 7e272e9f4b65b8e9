"""Peak memory of the driver's process: a whole run over 10^4 records, and 10^6 records planned and being dispatched.

    python -m benchmarks.memory --seconds 120

The source is a Parquet table of 8 x 8 PNGs, so that records are processed as fast as possible. The larger run is
stopped (SIGTERM) that many seconds after its first commit; by then the driver holds the whole list of shards and is
dispatching. The driver's largest resident set (VmHWM) is read just before it ends; workers and Ray's daemons are
separate processes and not included.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.million import image_table
from benchmarks.reporting import Row, save

_SMALL, _LARGE = 10_000, 1_000_000
_TIMEOUT_S = 3600.0


def driver_run(rows: int, work: Path, stop_after_s: float | None) -> Row:
    """Run the driver over a table of `rows` records and sample its memory."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        config = Path(folder) / "run.json"
        config.write_text(json.dumps(_configuration(image_table(work, rows), f"{folder}/out")))
        command = [sys.executable, "-m", "actors.driver", str(config)]
        began_s = time.monotonic()
        with (work / "memory.log").open("w") as log, (Path(folder) / "summary.json").open("w+") as summary:
            child = subprocess.Popen(command, stdout=summary, stderr=log)
            alarm = threading.Timer(_TIMEOUT_S, child.kill)
            alarm.start()
            peak_mib, planned_mib = _watch(child, stop_after_s, Path(folder) / "out")
            alarm.cancel()
            summary.seek(0)
            report = json.load(summary)
    if report["state"] == "failed":
        raise SystemExit(f"the run over {rows} records failed: {report['message']}")
    return {
        "records_planned": report["rows_planned"],
        "records_embedded": report["stats"]["embedded"],
        "state": report["state"],
        "seconds": round(time.monotonic() - began_s),
        "driver_peak_mib": round(peak_mib),
        "driver_peak_mib_when_planned": round(planned_mib),
    }


def _configuration(source: Path, out: str) -> dict[str, Any]:
    return {"source": {"uris": [str(source)]}, "model": {"name": "demo"}, "output": {"uri": out}}


def _watch(child: subprocess.Popen[bytes], stop_after_s: float | None, out: Path) -> tuple[float, float]:
    """(MiB at the peak, MiB at the peak up to the end of planning), until the child has ended."""
    peak_mib, planned_mib, committing_s = 0.0, 0.0, None
    while child.poll() is None:
        peak_mib = max(peak_mib, _largest_mib(child.pid))
        if not planned_mib and any(out.glob("_runs/*/plan.parquet")):
            planned_mib = peak_mib
        if committing_s is None and any(out.glob("embeddings/*/*.parquet")):
            committing_s = time.monotonic()
        if committing_s and stop_after_s and time.monotonic() - committing_s > stop_after_s:
            child.send_signal(signal.SIGTERM)
            stop_after_s = None
        time.sleep(0.1)
    return peak_mib, planned_mib


def _largest_mib(pid: int) -> float:
    """The largest resident set of process `pid` so far; 0 if it has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return int(found.group(1)) / 1024 if found else 0.0
    return 0.0


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="of dispatching, in the larger run; 0 for all of it")
    parser.add_argument("--small", type=int, default=_SMALL)
    parser.add_argument("--large", type=int, default=_LARGE)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "hanclip-benchmarks")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    rows = [driver_run(given.small, given.work, None), driver_run(given.large, given.work, given.seconds or None)]
    save("memory", load, [], rows)


if __name__ == "__main__":
    main()
