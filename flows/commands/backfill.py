"""`hanclip backfill` and `hanclip partitions`: the engine with a display, and an exit code.

In: validated configuration and request. Out: the grid on stdout, the display on stderr. Exit code: the worst of the
partitions that ran; an empty one is fine.
"""

from __future__ import annotations

import signal
import sys

import typer
from rich.console import Console
from rich.text import Text

from actors.stopping import StopSignal
from flows.backfill.engine import Backfill
from flows.backfill.grid import Grid, of_states
from flows.backfill.lanes import STOPPED
from flows.backfill.observer import Observer
from flows.backfill.plan import plan
from flows.backfill.request import BackfillRequest
from flows.commands import backfill_display as display
from flows.facts.backfill import tally
from flows.jobs.backends import make_backend
from flows.jobs.contract import APP
from flows.jobs.target import TargetConfig
from flows.options.absolute import absolute
from flows.terminal.json_lines import JsonLines
from flows.terminal.plain import plain
from pipeline.config import RunConfig
from pipeline.partitions.manifests import read_states


def backfill(config: RunConfig, request: BackfillRequest, target: TargetConfig, as_json: bool, quiet: bool) -> int:
    """Run the partitions that are due; the exit code is the worst of them."""
    config = absolute(config)
    if request.dry_run:
        _show(plan(request, config).grid, as_json)
        return 0
    if as_json:
        with JsonLines() as lines:
            grid, code = _run(config, request, target, display.GridJson(lines))
            lines.write("backfill", {**grid.to_json(), "exit_code": code})
        return _told(grid, code)
    if quiet:
        return _told(*_run(config, request, target, Observer()))
    console = Console(stderr=True)
    with display.LiveGrid(console) if console.is_terminal else display.GridLines(console) as screen:
        grid, code = _run(config, request, target, screen)
    _show(grid, as_json=False)
    return _told(grid, code)


def show_partitions(out: str, as_json: bool) -> None:
    """Print what the manifests of a dataset say."""
    _show(of_states(read_states(out)), as_json)


def _run(config: RunConfig, request: BackfillRequest, target: TargetConfig, observer: Observer) -> tuple[Grid, int]:
    signals = _Signals()
    with signals:
        backend = make_backend(target)
        backend.find(app=APP)  # Told at once when nobody answers; patience is for later.
        engine = Backfill(request, config, target, backend, observer)
        engine.should_stop = signals.arrived
        grid = engine.run()
    by_signal = grid.exit_code == STOPPED and signals.number
    return grid, 128 + by_signal if by_signal else grid.exit_code


class _Signals(StopSignal):
    """SIGTERM and Ctrl-C for a process in which other threads run jobs."""

    def arrived(self) -> bool:
        """Whether one came. Ray, when a job starts it, takes SIGTERM for itself: it is taken back at each call."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return self.number is not None


def _show(grid: Grid, as_json: bool) -> None:
    if as_json:
        with JsonLines() as lines:
            lines.write("backfill", grid.to_json())
        return
    # A job's id is as wide as half a terminal; a grid in a file or a pipe is not folded at all.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(display.table(grid.rows))
    console.print(Text(tally(grid), style="bold"))
    for line in display.complaints(grid):
        console.print(plain(line, "yellow"), soft_wrap=True)


def _told(grid: Grid, code: int) -> int:
    counts = grid.tally()
    if code:
        ways = [f"{counts[status]:,} {status}" for status in ("failed", "stopped") if counts[status]]
        why = ", ".join(ways) or "too much quarantine (`hanclip status` tells the reasons)"
        typer.secho(f"error: {why}; the same command runs what is missing", fg="red", err=True)
    return code
