"""Progress bars and spinners on stderr, so that stdout can be piped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from flows.terminal.figures import phase
from flows.terminal.plain import plain
from pipeline.phases import OnPhase


@contextmanager
def phase_bar(first: str, transient: bool = True, silent: bool = False) -> Iterator[OnPhase]:
    """A bar that restarts with each phase of the work.

    Args:
        first: the phase until another is reported.
        transient: whether the bar disappears at the end; it always does if its last phase was not counted to the end.
        silent: show nothing.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), _Amount(), TimeRemainingColumn())
    console = Console(stderr=True)
    live = console.is_terminal and not silent
    with Progress(*columns, console=console, transient=transient, disable=not live) as progress:
        task = progress.add_task(first, total=None)
        current = first

        def on_phase(doing: str, done: int, total: int | None) -> None:
            nonlocal current
            if doing != current:
                current = doing
                progress.reset(task, total=total)
            progress.update(task, description=doing, completed=done, total=total)

        try:
            yield on_phase
        finally:
            # A bar that stopped on its way would contradict what is printed next.
            progress.live.transient = transient or not progress.finished
    if progress.finished and not (live or transient or silent):
        console.print(progress)  # a log gets the last line alone


@contextmanager
def phase_spinner(title: str) -> Iterator[OnPhase]:
    """A spinner for work whose phases are short, or cannot be counted."""
    with Console(stderr=True).status(Text(title)) as status:
        yield lambda doing, done, total: status.update(plain(f"{title}: {phase(doing, done, total)}"))


class _Amount(ProgressColumn):
    """`1,200/5,000`, or `1,200` where the total is not known."""

    def render(self, task: Task) -> Text:
        done = f"{task.completed:,.0f}" if task.completed or task.total is not None else ""
        return Text(done if task.total is None else f"{done}/{task.total:,.0f}", style="progress.download")
