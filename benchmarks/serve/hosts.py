"""Runs a server and measures it while clients ask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cpu_time import CpuMeter, make_meter

#: What clients get before they count: connections, kernels of the first passes.
_WARM_S = 1.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server.

    Attributes:
        url: where it listens.
        root: its first process.
    """

    url: str
    root: int
    _meter: CpuMeter

    def cpu_s(self) -> float:
        """CPU seconds of all its processes so far."""
        return self._meter.seconds(self.root)

    def peak_mib(self) -> int:
        """Largest resident set of its first process so far."""
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.root}/status").read_text())
        return int(found.group(1)) // 1024 if found else 0


@contextmanager
def running(command: Sequence[str]) -> Iterator[Running]:
    """`python command...`, which prints its URL, or an object with it, when it listens."""
    meter = make_meter()
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=meter.join,  # before it starts threads
    ) as process:
        try:
            printed = (line.strip() for line in process.stdout or ())
            line = next((line for line in printed if line.startswith(("http", "{"))), None)
            if line is None:
                raise RuntimeError(f"{' '.join(command)} ended without a URL: run it by itself to see why")
            yield Running(json.loads(line)["url"] if line.startswith("{") else line, process.pid, meter)
        finally:
            process.terminate()
            process.wait(120)
    meter.close()


@dataclass(frozen=True, slots=True)
class Load:
    """Clients that ask.

    Attributes:
        bodies: file of their requests.
        clients: how many.
        seconds: how long, after the warm-up.
        warm_s: the warm-up.
        path: of their requests.
    """

    bodies: Path
    clients: int
    seconds: float
    warm_s: float = _WARM_S
    path: str = "/v1/embeddings"


def started(server: Running, load: Load) -> subprocess.Popen[str]:
    """The process of the clients."""
    command = [sys.executable, "-m", "benchmarks.serve.load", server.url, str(load.bodies), "--path", load.path]
    command += ["--clients", str(load.clients), "--warm", str(load.warm_s), "--seconds", str(load.seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def ask(server: Running, load: Load) -> tuple[dict[str, Any], float]:
    """What the clients saw (`benchmarks.serve.load.Answers`), and CPU seconds of the server meanwhile."""
    with started(server, load) as process:
        assert process.stdout
        process.stdout.readline()  # the warm-up has ended
        before_s = server.cpu_s()
        line = process.stdout.readline()
        cpu_s = server.cpu_s() - before_s
        return json.loads(line), cpu_s
