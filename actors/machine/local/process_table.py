"""The processes of this machine, as the kernel shows them in /proc. Needs no Ray."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What the kernel says of a process or thread.

    Attributes:
        parent: pid of the parent.
        cpu_s: seconds in which it computed, user and system.
        started_ticks: between the boot of the machine and its start; with the pid it names the process for good.
    """

    parent: int
    cpu_s: float
    started_ticks: int


def stat_of(entry: Path) -> ProcessStat | None:
    """Of the process or thread with this folder below /proc; None if it is gone."""
    try:
        # From the state on: the name before it may contain blanks and brackets.
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS_PER_S, int(fields[19]))


def all_stats() -> Mapping[int, ProcessStat]:
    """Of all processes, by pid."""
    stats = {int(entry.name): stat_of(entry) for entry in _PROC.iterdir() if entry.name.isdigit()}
    return {pid: stat for pid, stat in stats.items() if stat is not None}


def command_of(pid: int) -> str:
    """The command line of a process; empty if it is gone, or is one of the kernel."""
    with suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def descendants(ancestors: Iterable[int], stats: Mapping[int, ProcessStat]) -> list[int]:
    """Pids of the processes that `ancestors` started, and of those that these did: parents before their children."""
    given = list(ancestors)
    found = list(given)
    for parent in found:
        found += [pid for pid, stat in stats.items() if stat.parent == parent and pid not in found]
    return found[len(given) :]
