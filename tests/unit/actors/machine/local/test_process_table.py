"""What the kernel says of processes, whatever they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from actors.machine.local.process_table import all_stats, command_of, descendants, stat_of


def test_a_process_is_found_below_the_one_that_started_it_until_it_is_gone(tmp_path: Path) -> None:
    program = tmp_path / "a) 1 (b"  # the kernel puts the name into brackets, before the numbers
    program.symlink_to(str(shutil.which("sleep")))
    with subprocess.Popen([program, "60"]) as process:
        stats = all_stats()
        assert process.pid in descendants([os.getpid()], stats)
        assert process.pid in descendants([os.getppid()], stats)
        assert (stats[process.pid].parent, stats[process.pid].cpu_s < 60) == (os.getpid(), True)
        assert stats[process.pid].started_ticks >= stats[os.getpid()].started_ticks
        assert command_of(process.pid) == f"{program} 60 "
        process.kill()
    assert stat_of(Path("/proc", str(process.pid))) is None
    assert command_of(process.pid) == ""
