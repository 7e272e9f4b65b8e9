"""`hanclip embed` and `hanclip retry`: call the driver with a display, and print the summary.

In: a validated configuration. Out: an exit code, with the display on stderr and the result on stdout. Imports of the
driver wait until a run starts, because they load Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from flows.facts.dry_run import dry_run_facts
from flows.facts.run import TONES, excess_quarantine, run_facts, run_notes
from flows.options.absolute import absolute
from flows.options.run import RUN
from flows.terminal import display, figures
from flows.terminal.json_lines import JsonLines
from flows.terminal.next_commands import next_commands
from flows.terminal.panels import STYLES, panel
from flows.terminal.plain import plain
from flows.terminal.whole import print_table
from pipeline.config import RunConfig, parse
from pipeline.cost.prices import read_prices
from pipeline.jobs.progress import OnProgress, Summary
from pipeline.vocabulary import Reason

#: Exit codes beyond this name a signal.
_STOPPED = 128


def embed(config: RunConfig, as_json: bool, quiet: bool) -> int:
    """Run `config`; returns the summary's exit code."""

    def call(on_progress: OnProgress) -> Iterator[Summary]:
        from actors import driver  # loads Ray

        yield driver.run(absolute(config), on_progress)

    return _watched(call, as_json, quiet)


def retry(out: str, reasons: tuple[Reason, ...], options: Mapping[str, object], as_json: bool, quiet: bool) -> int:
    """Retry the records quarantined for `reasons`, configured like the latest run of `out` except for `options`.

    There is a run for each source that has such records. Returns the exit code of the worst.
    """

    def call(on_progress: OnProgress) -> Iterator[Summary]:
        configs = as_before(out, reasons, options)
        from actors import driver  # loads Ray

        yield from driver.retry(out, reasons, configs, on_progress)

    return _watched(call, as_json, quiet)


def as_before(out: str, reasons: tuple[Reason, ...], options: Mapping[str, object]) -> list[RunConfig]:
    """The configuration of the latest run of `out`, except for `options`, with each source to retry.

    Raises IdentityError without a dataset.
    """
    # keeps `hanclip jobs` and `hanclip submit` light, which show their ends as a run does: these bring Arrow and DuckDB
    from pipeline.dataset.dataset import Dataset
    from pipeline.plan.retry_sources import configs_to_retry

    Dataset.open(out)
    trees = [config.model_dump() for config in configs_to_retry(out, reasons)]
    for tree in trees:
        for section, values in RUN.given(options).items():
            tree[section] |= values
        tree["output"]["uri"] = out
    return [absolute(parse(tree)) for tree in trees]


def show_plan(config: RunConfig, prices_file: Path | None, as_json: bool) -> None:
    """Print what a run would do, and what it would cost if there is a file of prices."""
    from actors.dry_run import dry_run  # loads Ray

    prices = read_prices(prices_file) if prices_file else None
    if as_json:
        with JsonLines() as lines:
            lines.write("plan", asdict(dry_run(absolute(config), prices)))
    else:
        with Console(stderr=True).status("Planning: listing the source"):
            dry = dry_run(absolute(config), prices)
        print_table(panel("plan (nothing was started)", dry_run_facts(dry)))


def _watched(call: Callable[[OnProgress], Iterator[Summary]], as_json: bool, quiet: bool) -> int:
    """Show the runs of `call`; returns the exit code of the worst."""
    runs: list[Summary] = []
    if as_json:
        with JsonLines() as lines:
            for ended in call(lines.update):
                lines.write("summary", {"rows_in": ended.rows_in, **ended.to_json()})
                runs.append(ended)
    else:
        with display.choose(quiet) as screen:
            runs += call(screen.update)
    for ended in runs:
        if not (as_json or quiet):
            show_end(ended)
        _complain(ended, silent=as_json or quiet)
    return max((ended.exit_code for ended in runs), key=_how_bad)


def _complain(ended: Summary, silent: bool) -> None:
    """Print on stderr why a run's exit code is not 0, unless its panel says so; `silent` runs have none."""
    why, stopped = complaint(ended), ended.state == "stopped"
    if why and (silent or stopped or not ended.message):
        typer.secho(why if stopped else f"error: {why}", fg="red", err=True)


def _how_bad(exit_code: int) -> tuple[bool, bool, int]:
    """Sorts exit codes: a stop is the worst, then a failed run, then too much quarantine."""
    return exit_code > _STOPPED, exit_code == 1, exit_code


def show_end(ended: Summary) -> None:
    """Print the summary, then suggested commands."""
    console = Console(highlight=False)
    print_table(run_panel(ended), console)
    console.print("next", style="bold")
    for command in next_commands(ended):
        console.print(plain(f"  {command}"), soft_wrap=True)


def run_panel(ended: Summary) -> Panel:
    """The panel at the end of a run."""
    title = Text(f"{ended.state} in {figures.duration(ended.seconds)}", STYLES[TONES.get(ended.state, "")])
    return panel(title, [*run_facts(ended), *run_notes(ended)])


def complaint(ended: Summary) -> str:
    """Why the exit code is not 0; empty if it is."""
    if ended.exit_code == 3:
        return excess_quarantine(ended.quarantine_share, "--max-quarantine")
    return ended.message if ended.exit_code else ""
