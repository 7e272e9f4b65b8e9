"""CPU seconds of `hanclip --help`: the start-up cost of every command.

python -m benchmarks.startup
"""

from __future__ import annotations

import argparse
import os
from statistics import median

from benchmarks.child import measure
from benchmarks.reporting import Goal, Row, save

_COMMANDS = ("hanclip --help", "hanclip embed --help")


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [measured(name, given.rounds) for name in _COMMANDS]
    save("startup", load, [Goal("CPU seconds of hanclip --help", rows[0]["cpu_s"], at_most=0.5)], rows)


def measured(name: str, rounds: int) -> Row:
    """Medians of `rounds` runs of one command."""
    costs = [measure("-m", "flows.cli", *name.split()[1:], timeout_s=60) for _ in range(rounds)]
    return {
        "command": name,
        "cpu_s": round(median(cost.cpu_s for cost in costs), 3),
        "wall_s": round(median(cost.wall_s for cost in costs), 3),
        "peak_mib": round(median(cost.peak_mib for cost in costs), 1),
        "cpu_s_of_each": [round(cost.cpu_s, 3) for cost in costs],
    }


if __name__ == "__main__":
    main()
