"""Shows a run's progress on stderr: a live panel on a terminal, log lines elsewhere.

In: each `Progress` that the driver reports. A display is a context manager with `update`; `choose` picks one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.terminal import figures
from flows.terminal.plain import plain
from pipeline import units
from pipeline.jobs.progress import Progress

FIRST_LINE_S = 2.0
LINE_EVERY_S = 10.0
DOING = {
    "planning": "Planning: listing the source and the records already done",
    "starting": "Starting: Ray, the actors and the model",
    "running": "Running",
    "stopping": "Stopping: finishing the open shards",
}


class Display(Protocol):
    """What a command expects of a display."""

    def __enter__(self) -> Display: ...

    def __exit__(self, *exc: object) -> None: ...

    def update(self, progress: Progress) -> None:
        """Show the progress."""


class Silent(AbstractContextManager["Silent"]):
    """Shows nothing (`--quiet`), and no warnings of the log either."""

    def __enter__(self) -> Silent:
        self._before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        return self

    def __exit__(self, *exc: object) -> None:
        logging.disable(self._before)

    def update(self, progress: Progress) -> None:
        """Show nothing."""


class LogLines(AbstractContextManager["LogLines"]):
    """A line after two seconds, then one about every ten, and one whenever the activity changes."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._doing = ""
        self._due = clock() + FIRST_LINE_S

    def __exit__(self, *exc: object) -> None:
        """Nothing to undo."""

    def update(self, progress: Progress) -> None:
        """Write a line if one is due."""
        doing = activity(progress)
        changed = doing != self._doing
        now = self._clock()
        if progress.state not in DOING or (not changed and now < self._due):
            return
        if now >= self._due:
            self._due = now + LINE_EVERY_S
        self._doing = doing
        self._write(line(progress))


class LivePanel(AbstractContextManager["LivePanel"]):
    """A live panel, redrawn four times a second from the latest progress."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(run_id="", state="planning")
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._frame, refresh_per_second=4, transient=True)

    def __enter__(self) -> LivePanel:
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Keep the progress for the next frame."""
        self._progress = progress

    def _frame(self) -> RenderableType:
        self._spinner.update(text=Text(activity(self._progress)))
        return panel(self._progress, self._spinner)


def choose(quiet: bool) -> Display:
    """The display for a person: live on a terminal, lines elsewhere, nothing when `quiet`."""
    console = Console(stderr=True)
    if quiet:
        return Silent()
    if console.is_terminal:
        return LivePanel(console)
    return LogLines(lambda text: console.print(plain(text), soft_wrap=True, highlight=False))


def activity(progress: Progress) -> str:
    """What the run is doing or waiting for, in a few words."""
    doing = DOING.get(progress.state, "Finishing: stopping the actors")
    if not progress.waiting_for or progress.state not in ("starting", "stopping"):
        return doing
    return f"{doing.partition(':')[0]}: waiting for {progress.waiting_for}"


def line(progress: Progress) -> str:
    """One log line."""
    clock = time.strftime("%H:%M:%S")
    if not progress.rows_planned or progress.state in ("planning", "starting"):
        return f"{clock} {activity(progress)}"
    done, stats = progress.stats.records, progress.stats
    parts = [
        f"{clock} {progress.state} {done:,}/{progress.rows_planned:,} records"
        f" ({figures.share(done / progress.rows_planned)})",
        f"{figures.rate(progress.records_per_s)} records/s",
        f"{units.size(progress.bytes_per_s)}/s",
    ]
    if progress.eta_s is not None:
        parts.append(f"{figures.duration(progress.eta_s)} left")
    if progress.stages:
        parts.append("busy " + " ".join(f"{s.name} {figures.share(s.busy)}" for s in progress.stages))
    if stats.quarantined:
        parts.append(f"quarantined {stats.quarantined.total():,} ({figures.by_reason(stats.quarantined)})")
    if progress.actors_replaced:
        parts.append(f"actors replaced {progress.actors_replaced}")
    return ", ".join(parts)


def panel(progress: Progress, spinner: RenderableType) -> RenderableType:
    """A frame of the live panel."""
    if not progress.rows_planned or progress.state in ("planning", "starting"):
        return spinner
    return Group(spinner, _bar(progress), _stages(progress), _footer(progress))


def _bar(progress: Progress) -> RenderableType:
    done, total = progress.stats.records, progress.rows_planned
    left = "" if progress.eta_s is None else f"{figures.duration(progress.eta_s)} left"
    row = Table.grid(padding=(0, 2))
    row.add_row(
        ProgressBar(total=total, completed=done, width=40),
        f"{done:,}/{total:,} records",
        figures.share(done / total),
        left,
        f"{figures.rate(progress.records_per_s)} records/s",
        f"{units.size(progress.bytes_per_s)}/s",
    )
    return row


def _stages(progress: Progress) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2))
    table.add_column("stage")
    for name in ("actors", "busy", "records/s", "queued"):
        table.add_column(name, justify="right")
    for s in progress.stages:
        table.add_row(s.name, str(s.actors), figures.share(s.busy), figures.rate(s.records_per_s), str(s.queued))
    return table


def _footer(progress: Progress) -> RenderableType:
    parts = [
        f"shards {progress.shards_done:,}/{progress.shards_planned:,}",
        f"in flight {units.size(progress.inflight_bytes)}",
    ]
    if progress.rows_already_done:
        parts.append(f"already done {progress.rows_already_done:,} records")
    if progress.actors_replaced:
        parts.append(f"actors replaced {progress.actors_replaced}")
    if progress.crew_changes:
        parts.append(progress.crew_changes[-1])
    text = Text("  ".join(parts), style="dim")
    if progress.stats.quarantined:
        reasons = figures.by_reason(progress.stats.quarantined)
        text.append(f"\nquarantine {progress.stats.quarantined.total():,}: {reasons}", style="yellow")
    return text
