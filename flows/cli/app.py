"""The `hanclip` command: one module per command, each registered here by one line.

In: the command line. Out: results on stdout, the display and errors on stderr, and an exit code: 0 complete, 1 failed,
2 wrong use, 3 complete but too much quarantine, 130 after Ctrl-C, 143 after SIGTERM. Modules of `flows.cli` are
imported for `hanclip --help`, so they import nothing heavy (Ray, torch, Arrow, pydantic); their functions do.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Annotated

import typer

from actors.exiting import exit_at_once
from actors.machine.native_stderr import separate_python
from actors.stopping import Interrupted, named
from flows.cli import backfill, compact, demo, dev, embed, jobs, model, status, verify
from flows.cli.curation import classify, dedup, evaluate, export, report, search, similarity
from flows.cli.curation import filter as filter_rows
from flows.cli.lazy import LazyTyper
from pipeline import __version__
from pipeline.errors import HanclipError
from pipeline.faults import translated

app = LazyTyper(
    name="hanclip",
    help="Chinese-CLIP embeddings and similarities for image catalogs and image-text datasets, on Ray, as Parquet.",
    epilog="Start here:\n\n  hanclip demo\n\n  hanclip embed photos/ out/ --model demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hanclip {__version__}")
        raise typer.Exit


@app.callback()
def hanclip(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options of the program itself."""


# In the order of `hanclip --help`.
for command in (
    embed,
    status,
    verify,
    compact,
    demo,
    search,
    similarity,
    evaluate,
    classify,
    dedup,
    report,
    filter_rows,
    export,
    model,
    jobs,
    backfill,
    dev,
):
    command.register(app)


def run(given: list[str]) -> int:
    """Run the command line; returns the exit code. Errors and signals become one message without a traceback."""
    try:
        with named(), translated():
            app(given, prog_name="hanclip")
    except HanclipError as error:
        if "--debug" in given:
            raise
        _report(given, str(error), error.exit_code, f"error: {error}")
        return error.exit_code
    except Interrupted as stop:
        _report(given, stop.message, 128 + stop.number, stop.message)
        return 128 + stop.number
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 0
    return 0


def run_process() -> int:
    """Run the arguments of this process, which must be about to exit with the returned code."""
    separate_python()
    code = run(sys.argv[1:])
    with suppress(OSError):  # reported when the interpreter ends
        sys.stdout.flush()
    exit_at_once(code)
    return code


def _report(given: list[str], message: str, exit_code: int, shown: str) -> None:
    if "--json" in given:
        typer.echo(json.dumps({"event": "error", "message": message, "exit_code": exit_code}, ensure_ascii=False))
    from flows.terminal.plain import plain  # keeps --help light

    typer.secho(str(plain(shown)), fg="red", err=True)
