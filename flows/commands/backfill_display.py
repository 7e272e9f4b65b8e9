"""Shows a backfill: as a table, a live view, log lines or JSON lines.

In: the engine's calls of its observer. Out: stderr while it runs, except for `--json`, whose lines go to stdout.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.backfill.grid import Grid, GridRow
from flows.backfill.observer import Observer
from flows.facts.backfill import tally
from flows.jobs.contract import JobStatus
from flows.terminal import figures
from flows.terminal.json_lines import JsonLines
from flows.terminal.plain import plain
from pipeline.jobs.job import JobProgress

STYLES = {"done": "green", "failed": "red", "stopped": "yellow", "running": "bold cyan", "waiting": "cyan"}
#: Rows of the live view; further ones are only counted.
_LIVE_ROWS = 20
_NUMBERS = ("rows", "embedded", "quarantined", "took")


def table(rows: Iterable[GridRow], with_jobs: bool = True) -> Table:
    """The grid as a table."""
    grid = Table(box=None, header_style="dim", padding=(0, 2))
    for name in ("partition", "status", "why", *_NUMBERS):
        grid.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=name in ("partition", "status"))
    if with_jobs:
        grid.add_column("job", no_wrap=True)
    for row in rows:
        took = figures.duration(row.seconds) if row.seconds else ""
        status = Text(row.status, style=STYLES.get(row.status, ""))
        job = (plain(row.job),) if with_jobs else ()
        grid.add_row(plain(row.key), status, plain(row.why), *map(_count, _counts(row)), took, *job)
    return grid


def _counts(row: GridRow) -> tuple[int, int, int]:
    return row.rows, row.embedded, row.quarantined


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def complaints(grid: Grid) -> Iterator[str]:
    """Why partitions failed, one line for each distinct message, then the notes."""
    failed: dict[str, list[str]] = {}
    for row in grid.rows:
        if row.status == "failed" and row.message:
            failed.setdefault(row.message.partition("\n")[0], []).append(row.key)
    for message, keys in failed.items():
        others = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
        yield f"{keys[0]}{others}: {message}"
    yield from grid.notes


class GridLines(Observer, AbstractContextManager["GridLines"]):
    """A line whenever a partition ends or a job begins or ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, str] = {}

    def __exit__(self, *exc: object) -> None:
        """Nothing to undo."""

    def grid(self, grid: Grid) -> None:
        """Write the partitions that ended."""
        first = not self._shown
        for row in grid.rows:
            if row.exit_code is not None and self._shown.get(row.key) != row.status and not first:
                took = f" in {figures.duration(row.seconds)}" if row.seconds else ""
                note = f": {row.message}" if row.message else ""
                self._write(f"{row.key} {row.status}, {row.rows:,} records{took}{note} ({grid.left:,} left)")
        self._shown = {row.key: row.status if row.exit_code is not None else "" for row in grid.rows}

    def job(self, status: JobStatus) -> None:
        """Write the job's state."""
        self._write(f"job {status.job_id} {status.state}{f' {status.url}' if status.url else ''}")

    def _write(self, text: str) -> None:
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self._console.print(plain(line), soft_wrap=True, highlight=False)


class LiveGrid(Observer, AbstractContextManager["LiveGrid"]):
    """A live view: a bar, the progress of each job, and the active or failed rows."""

    def __init__(self, console: Console) -> None:
        self._grid = Grid(())
        self._jobs: dict[str, JobProgress] = {}
        self._live = Live(console=console, get_renderable=self._frame, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveGrid:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def grid(self, grid: Grid) -> None:
        """Keep the grid for the next frame."""
        self._grid = grid

    def job(self, status: JobStatus) -> None:
        """Drop a finished job."""
        if status.state.over:
            self._jobs.pop(status.job_id, None)

    def progress(self, job_id: str, progress: JobProgress) -> None:
        """Keep the job's progress for the next frame."""
        self._jobs[job_id] = progress

    def _frame(self) -> RenderableType:
        rows = self._grid.rows
        ended = len(rows) - self._grid.left
        head = Table.grid(padding=(0, 2))
        head.add_row(ProgressBar(total=max(1, len(rows)), completed=ended, width=40), tally(self._grid))
        jobs = [plain(f"{job}: {doing(progress)}", "dim") for job, progress in self._jobs.items()]
        active = [row for row in rows if row.status in ("queued", "running") or row.exit_code]
        return Group(head, *jobs, table(active[:_LIVE_ROWS], with_jobs=False))


class GridJson(Observer):
    """A line per event on stdout: `partition` for each row that changed, `job`, `progress`."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines
        self._rows: dict[str, GridRow] = {}

    def grid(self, grid: Grid) -> None:
        """Write the rows that changed."""
        for row in grid.rows:
            if self._rows.get(row.key) != row:
                self._lines.write("partition", row.to_json())
        self._rows = {row.key: row for row in grid.rows}

    def job(self, status: JobStatus) -> None:
        """Write the job."""
        self._lines.write("job", {"job_id": status.job_id, "state": status.state, "url": status.url})

    def progress(self, job_id: str, progress: JobProgress) -> None:
        """Write the job's progress."""
        run = progress.progress.to_json() if progress.progress else {}
        self._lines.write("progress", {"job_id": job_id, "run": progress.run, "runs": progress.runs, "progress": run})


def doing(progress: JobProgress) -> str:
    """`partition 2 of 7, 1,200/5,000 records, 210 records/s`."""
    run = progress.progress
    parts = [f"partition {progress.run + 1} of {progress.runs}"]
    if run and run.rows_planned:
        parts += [f"{run.stats.records:,}/{run.rows_planned:,} records", f"{figures.rate(run.records_per_s)} records/s"]
    return ", ".join(parts)
