"""`hanclip backfill` and `hanclip partitions`: run the engine with a display, print the grid.

In: validated configuration and request. Out: the grid on stdout, the display on stderr. The exit code is the worst of
the partitions that ran. An empty partition counts as success, unless nothing was ever found at the address.
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
from flows.terminal.display import Silent
from flows.terminal.json_lines import JsonLines
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.config import RunConfig
from pipeline.dataset.dataset import Dataset
from pipeline.partitions.manifests import read_states


def backfill(config: RunConfig, request: BackfillRequest, target: TargetConfig, as_json: bool, quiet: bool) -> int:
    """Run the partitions that are due; returns the worst exit code."""
    config = absolute(config)
    if request.dry_run:
        _show(plan(request, config).grid, as_json)
        return 0
    if as_json:
        with JsonLines() as lines:
            grid, code = _run(config, request, target, display.GridJson(lines))
            lines.write("backfill", {**grid.to_json(), "exit_code": code})
        return _complain(grid, code)
    if quiet:
        with Silent():
            return _complain(*_run(config, request, target, Observer()))
    console = Console(stderr=True)
    with display.LiveGrid(console) if console.is_terminal else display.GridLines(console) as screen:
        grid, code = _run(config, request, target, screen)
    _show(grid, as_json=False)
    return _complain(grid, code)


def show_partitions(out: str, as_json: bool) -> None:
    """Print the partitions of a dataset from their manifests."""
    states = read_states(out)
    if not states:
        Dataset.open(out)  # raises if there is nothing of hanclip's at all
    _show(of_states(states), as_json)


def _run(config: RunConfig, request: BackfillRequest, target: TargetConfig, observer: Observer) -> tuple[Grid, int]:
    signals = _Signals()
    with signals:
        backend = make_backend(target)
        backend.find(app=APP)  # fails at once if the backend is unreachable
        engine = Backfill(request, config, target, backend, observer)
        engine.should_stop = signals.arrived
        grid = engine.run()
    by_signal = grid.exit_code == STOPPED and signals.number
    return grid, 128 + by_signal if by_signal else grid.exit_code


class _Signals(StopSignal):
    """SIGTERM and Ctrl-C for a process in which other threads run jobs."""

    def arrived(self) -> bool:
        """Whether one has arrived. Each call restores the handlers, because Ray replaces SIGTERM's when it starts."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        return self.number is not None


def _show(grid: Grid, as_json: bool) -> None:
    if as_json:
        with JsonLines() as lines:
            lines.write("backfill", grid.to_json())
        return
    # A job's id takes half a terminal's width; in a file or a pipe no line is folded.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    print_table(display.table(grid.rows), console)
    console.print(Text(tally(grid), style="bold"))
    for line in display.complaints(grid):
        console.print(plain(line, "yellow"), soft_wrap=True)


def _complain(grid: Grid, code: int) -> int:
    counts = grid.tally()
    if grid.failure:
        typer.secho(f"error: {plain(grid.failure)}", fg="red", err=True)
    elif code:
        ways = [f"{counts[status]:,} {status}" for status in ("failed", "stopped") if counts[status]]
        why = ", ".join(ways) or "too much quarantine (`hanclip status` lists the reasons)"
        typer.secho(f"error: {why}; run the same command again for the missing partitions", fg="red", err=True)
    return code
